package main

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRunOnNetworks(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.berth("network", "create", "--subnet", "10.99.1.0/24", "front")
	h.berth("network", "create", "--subnet", "10.99.2.0/24", "back")
	h.berth("run", "-d", "--name", "web", "--hostname", "web.example", "--network", "front:ip=10.99.1.77", "--network", "back", "-p", "8080:80",
		h.rootfs, "busybox", "httpd", "-f", "-p", "80", "-h", "/data")
	t.Cleanup(func() { h.try("rm", "-f", "web") })
	if got := h.template("web", "{{range .State.Endpoints}}{{.Network}} {{.IfName}} {{range .Addresses}}{{.}} {{end}}{{end}}"); got != "front eth0 10.99.1.77/24 back eth1 10.99.2.2/24" {
		t.Errorf("endpoints: %s", got)
	}
	if hosts := h.berth("exec", "web", "cat", "/etc/hosts"); !strings.Contains(hosts, "10.99.1.77\tweb.example web\n") || !strings.Contains(hosts, "10.99.2.2\tweb.example web\n") {
		t.Errorf("/etc/hosts: %s", hosts)
	}
	for _, c := range []struct{ network, address string }{{"front", "10.99.1.77"}, {"container:web", "127.0.0.1"}} {
		script := `printf 'GET /default HTTP/1.0\r\n\r\n' | busybox nc -w 5 ` + c.address + " 80"
		if out := h.berth("run", "--rm", "--network", c.network, h.rootfs, "sh", "-c", script); !strings.Contains(out, "from the image\n") {
			t.Errorf("%s from %s: %q", c.address, c.network, out)
		}
	}
	if body := h.Get("http://10.99.1.77:80/default"); body != "from the image\n" {
		t.Errorf("from the host: %q", body)
	}
	if body := h.Get("http://127.0.0.1:8080/default"); body != "from the image\n" {
		t.Errorf("the published port: %q", body)
	}
	if r := h.try("run", "--rm", "--network", "host", "-p", "1:1", h.rootfs, "true"); r.code != 125 {
		t.Errorf("a published port with --network host: %+v", r)
	}
	if r := h.try("run", "--rm", "--network", "no-such", h.rootfs, "true"); r.code != 125 || !strings.Contains(r.err, "no-such") {
		t.Errorf("an unknown network: %+v", r)
	}
	h.berth("rm", "-f", "web")
	if left := h.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if out := h.berth("network", "inspect", "--format", "{{len .Containers}}", "front"); strings.TrimSpace(out) != "0" {
		t.Errorf("endpoints left: %s", out)
	}
}

// TestNetworkGCAfterAKilledSupervisor: the pinned namespace of a container
// without a supervisor is nobody's.
func TestNetworkGCAfterAKilledSupervisor(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.berth("run", "-d", "--name", "c", h.rootfs, "sleep", "1000")
	t.Cleanup(func() { h.try("rm", "-f", "c") })
	id := h.template("c", "{{.ID}}")
	unix.Kill(int(h.inspect("c")["state"].(map[string]any)["supervisor"].(float64)), unix.SIGKILL)
	eventually(t, "it is dead", func() bool { return h.template("c", "{{.State.Status}}") == "dead" })
	h.berth("network", "gc")
	if got := h.template("c", "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 137" {
		t.Errorf("after gc: %s", got)
	}
	if out := strings.TrimSpace(h.berth("network", "inspect", "--format", "{{len .Containers}}", "bridge")); out != "0" {
		t.Errorf("endpoints left: %s", out)
	}
	left := slices.DeleteFunc(h.leftovers(), func(s string) bool { return strings.HasPrefix(s, "/var/lib/berth/") })
	if left = append(left, cgroupsOf(id)...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
