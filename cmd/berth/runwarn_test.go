package main

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// A bridge that is not the gateway has no way around br_netfilter, so an ADD
// warns of ::1. Whoever attaches prints that once.
func TestWarningsOfAnAddArePrintedOnce(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	if out, err := h.Try("sysctl", "-w", "net.bridge.bridge-nf-call-ip6tables=1"); err != nil {
		t.Skipf("kernel without br_netfilter (CONFIG_BRIDGE_NETFILTER): %s", out)
	}
	conflist := `{"cniVersion":"1.0.0","name":"flat","plugins":[{"type":"bridge","bridge":"flat0","capabilities":{"portMappings":true},
"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.99.3.0/24"}],[{"subnet":"fd99:3::/64"}]]}}]}`
	if err := h.Do(func() error {
		return errors.Join(os.MkdirAll("/etc/cni/net.d", 0o755), os.WriteFile("/etc/cni/net.d/flat.conflist", []byte(conflist), 0o600))
	}); err != nil {
		t.Fatal(err)
	}
	once := func(what string, r result) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(r.err), "\n")
		if r.code != 0 || len(lines) != 1 || !strings.HasPrefix(lines[0], "berth: warning: ") || !strings.Contains(lines[0], "::1") {
			t.Errorf("%s: code %d, standard error %q; want one warning about ::1", what, r.code, r.err)
		}
		if strings.Contains(r.out, "warning") {
			t.Errorf("%s: a warning on standard output: %q", what, r.out)
		}
	}
	once("run", h.try("run", "--rm", "--network", "flat", "-p", "8081:80", h.rootfs, "echo"))
	once("run -d", h.try("run", "-d", "--name", "web", "--network", "flat", "-p", "8082:80", h.rootfs, "sleep", "1000"))
	t.Cleanup(func() { h.try("rm", "-f", "web") })
	if got := h.template("web", "{{range .State.Endpoints}}{{.Warnings}}{{end}}"); !strings.Contains(got, "::1") {
		t.Errorf("inspect shows the warnings %s", got)
	}
	if r := h.try("logs", "web"); strings.Contains(r.err+r.out, "warning") {
		t.Errorf("the container's log has the warning: %+v", r)
	}
	once("network connect", h.try("network", "connect", "-p", "8083:80", "flat", "netns:"+h.NewContainer("c1").Path))
	if r := h.try("run", "--rm", "--network", "flat", h.rootfs, "echo"); r.code != 0 || r.err != "" {
		t.Errorf("without a port: %+v", r)
	}
}
