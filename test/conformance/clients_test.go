package conformance

import (
	"fmt"
	"strings"
	"testing"
)

// What real clients send, as it was seen when their calls were logged.

// Podman 4.3: VERSION again and again, its own networks at 0.4.0, a fixed
// address and MAC in CNI_ARGS and the address in the capability "ips" too.
func TestPodman(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		w := newWorld(t, d)
		for range 3 {
			a := w.run(map[string]string{"CNI_COMMAND": "VERSION"}, `{"cniVersion":"1.0.0"}`)
			if a.code != 0 || !strings.Contains(a.stdout, `"0.4.0"`) || a.stderr != "" {
				t.Fatalf("VERSION: %+v", a)
			}
		}
		args := "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1"
		conf := w.conf("0.4.0", "")
		if d.addresses {
			args += ";IP=10.77.0.99"
			conf = w.conf("0.4.0", `, "runtimeConfig": {"ips": ["10.77.0.99/24"]}`)
		}
		if d.device {
			args += ";MAC=02:00:00:00:00:99"
		}
		result := w.must("ADD", conf, args)
		if d.addresses && !strings.Contains(result, "10.77.0.99/24") || d.device && !strings.Contains(result, "02:00:00:00:00:99") {
			t.Errorf("not the address or MAC that was asked for: %s", result)
		}
		w.must("DEL", conf, args)
	})
}

// containerd's CRI: every pod gets a loopback at 0.3.1 first, and pods are
// deleted again and again, at last without a netns.
func TestCRI(t *testing.T) {
	t.Parallel()
	var lo driver
	for _, d := range drivers {
		if d.name == "loopback" {
			lo = d
		}
	}
	w := newWorld(t, lo)
	args := "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns-1;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=5e-6"
	conf := `{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}`
	result := decode(t, "0.3.1", w.must("ADD", conf, args, "CNI_IFNAME=lo"))
	if len(result.IPs) != 2 || result.Interfaces[0].Name != "lo" {
		t.Errorf("%v", result)
	}
	if out, err := w.inside("ip", "link", "show", "up", "dev", "lo"); err != nil || !strings.Contains(out, "LOOPBACK,UP") {
		t.Errorf("lo: %v: %s", err, out)
	}
	for _, netns := range []string{w.netns, w.netns, ""} {
		w.must("DEL", conf, args, "CNI_IFNAME=lo", "CNI_NETNS="+netns)
	}
	if out, _ := w.inside("ip", "link", "show", "up", "dev", "lo"); strings.Contains(out, "UP") {
		t.Errorf("lo is up after DEL: %s", out)
	}
}

// nerdctl: reads a plugin's version from what it says without CNI_COMMAND,
// sends an argument that is only for a DHCP plugin, and attaches by
// /proc/PID/ns/net.
func TestNerdctl(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		w := newWorld(t, d)
		a := w.run(nil, "")
		if a.code != 0 || a.stdout != "" || !strings.HasPrefix(a.stderr, fmt.Sprintf("CNI %s plugin v", d.name)) {
			t.Errorf("without CNI_COMMAND: %+v", a)
		}
		args := "CNI_ARGS=IgnoreUnknown=1;NERDCTL_CNI_DHCP_HOSTNAME=web"
		w.must("ADD", w.conf("1.0.0", ""), args)
		w.must("DEL", w.conf("1.0.0", ""), args, "CNI_NETNS=")
	})
}
