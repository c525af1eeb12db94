package network_test

import (
	"context"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/plugins"
)

// TestReloadRestoresIsolationAndPorts guards against what a reload of
// firewalld does to others' rules (CVE-2025-54410).
func TestReloadRestoresIsolationAndPorts(t *testing.T) {
	t.Parallel()
	h, lan := nettest.NewHost(t, "h"), nettest.NewHost(t, "lan")
	nettest.Link(h, "eth0", []string{"192.0.2.1/24"}, lan, "eth0", []string{"192.0.2.9/24"})
	web, other := h.NewContainer("web"), h.NewContainer("other")
	cat, ctx := open(t, t.TempDir()), context.Background()
	attach := func(name string, c *nettest.Container, ports ...plugins.PortMapping) {
		t.Helper()
		create(t, cat, network.CreateSpec{Name: name})
		on(t, h, func() error {
			_, err := cat.Attach(ctx, name, network.Endpoint{ContainerID: c.Name, Name: c.Name, NetNS: c.Path, Ports: ports})
			return err
		})
	}
	attach("front", web, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	attach("back", other)
	inside := address(t, cat, "front", "web")
	web.Serve("tcp", ":80")
	published := func(when string) {
		t.Helper()
		if _, err := lan.TryAsk("tcp", "192.0.2.1:8080"); err != nil {
			t.Errorf("%s: the published port: %v", when, err)
		}
	}
	isolated := func(when string) {
		t.Helper()
		if _, err := other.TryAsk("tcp", inside+":80"); err == nil {
			t.Errorf("%s: another network reaches the container", when)
		}
	}
	published("at first")
	isolated("at first")

	h.Run("nft", "flush", "ruleset")
	if _, err := lan.TryAsk("tcp", "192.0.2.1:8080"); err == nil {
		t.Fatal("the flush has flushed nothing")
	}
	for range 2 { // repeating it changes nothing
		on(t, h, func() error {
			done, err := cat.Reload(ctx)
			if want := (network.Reloaded{Networks: 2, Attachments: 2, Ports: 1}); done != want {
				t.Errorf("reload tells of %+v, want %+v", done, want)
			}
			return err
		})
	}
	published("after the reload")
	isolated("after the reload")
}

// address is a container's on a network, without its length.
func address(t *testing.T, c *network.Catalogue, net, container string) string {
	t.Helper()
	records, err := c.Endpoints(net)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Name == container {
			return r.Addresses[0].Addr().String()
		}
	}
	t.Fatalf("%s is not on %s", container, net)
	return ""
}
