package bridge_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		keys      string
		container string // ip -d link show eth0 in the container has it
		port      string // bridge -d link on the host
		bridge    string // ip -d link show br1
	}{
		"mtu":           {keys: `"mtu":1400,`, container: "mtu 1400", bridge: "mtu 1400"},
		"hairpinMode":   {keys: `"hairpinMode":true,`, port: "hairpin on"},
		"promiscMode":   {keys: `"promiscMode":true,`, bridge: "PROMISC"},
		"portIsolation": {keys: `"portIsolation":true,`, port: "isolated on"},
		"enabledad":     {keys: `"enabledad":true,`, container: "UP"},
		"mac":           {container: "02:11:22:33:44:55"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.host.NewContainer("c1")
			req := request(c, "front", config(1, k.keys))
			req.Runtime.MAC, _ = net.ParseMAC("02:11:22:33:44:55")
			w.add(req)
			for _, see := range []struct{ want, got string }{
				{k.container, c.Run("ip", "-d", "link", "show", "eth0")},
				{k.port, w.host.Run("bridge", "-d", "link")},
				{k.bridge, w.host.Run("ip", "-d", "link", "show", "br1")},
			} {
				if !strings.Contains(see.got, see.want) {
					t.Errorf("no %q in\n%s", see.want, see.got)
				}
			}
			if err := w.check(req); err != nil {
				t.Error(err)
			}
			w.del(req)
		})
	}
}

func TestDisabledInterfaceStaysDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	req := request(c, "front", `{"type":"bridge","bridge":"br1","disableContainerInterface":true}`)
	w.add(req)
	if out := c.Run("ip", "-o", "link", "show", "eth0"); !strings.Contains(out, "state DOWN") {
		t.Errorf("the container's interface:\n%s", out)
	}
	if err := w.check(req); err != nil {
		t.Error(err)
	}
	c.Run("ip", "link", "set", "eth0", "up")
	if err := w.check(req); err == nil || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("an interface that somebody brought up: %v", err)
	}
}

func TestForceAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	w.host.Run("ip", "link", "add", "br1", "type", "bridge")
	w.host.Run("ip", "address", "add", "10.1.0.9/24", "dev", "br1")
	if _, err := w.tryAdd(request(c, "front", config(1, ""))); err == nil || !strings.Contains(err.Error(), "10.1.0.9") {
		t.Errorf("another address on the bridge: %v", err)
	}
	w.add(request(c, "front", config(1, `"forceAddress":true,`)))
	if out := w.host.Run("ip", "address", "show", "br1"); strings.Contains(out, "10.1.0.9") || !strings.Contains(out, "10.1.0.1/24") {
		t.Errorf("forceAddress left:\n%s", out)
	}
}

func TestVLANNamesTheMissingFeature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	_, err := w.tryAdd(request(c, "front", config(1, `"vlan":5,`)))
	if err == nil {
		t.Skip("this kernel has VLAN filtering on bridges")
	}
	if !strings.Contains(err.Error(), "CONFIG_BRIDGE_VLAN_FILTERING") {
		t.Errorf("vlan: %v", err)
	}
	if out := c.Run("ip", "-o", "link"); strings.Contains(out, "eth0") {
		t.Errorf("left behind:\n%s", out)
	}
}

func TestBindAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", config(1, `"bindAddress":["127.0.0.1"],`), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	serve(t, c.Host, 80)
	w.reaches(w.host, "127.0.0.1:8080", "")
	w.cannotReach(w.lan, "192.0.2.1:8080")
	d := w.host.NewContainer("d1")
	_, err := w.tryAdd(request(d, "front", config(1, ""), plugins.PortMapping{HostIP: netip.MustParseAddr("198.51.100.7"), HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}))
	if err == nil || !strings.Contains(err.Error(), "no address of this host") {
		t.Errorf("a port on a stranger's address: %v", err)
	}
}
