package overlay_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/overlay"
	"github.com/berth-net/berth/state"
)

// published asks for a container with these mappings, on the static network.
func published(c *nettest.Container, ports ...plugins.PortMapping) *plugins.Request {
	c.Run("ip", "link", "set", "lo", "up")
	req := request(c, static(1, ip4Peers))
	req.Runtime.PortMappings = ports
	return req
}

func (w *world) addPublished(req *plugins.Request) *plugins.Result {
	w.Helper()
	r, err := tryAdd(w.a, req)
	if err != nil {
		w.Fatalf("add %s: %v", req.ContainerID, err)
	}
	return r
}

// onPort80 publishes a container's port 80 as 8080.
func onPort80(protocol string, hostIP netip.Addr) plugins.PortMapping {
	return plugins.PortMapping{HostIP: hostIP, HostPort: 8080, ContainerPort: 80, Protocol: protocol}
}

// brNetfilter has bridged packets handed to the packet filter of IP, or kept
// from it.
func (w *world) brNetfilter(value string) {
	w.Helper()
	w.a.Run("sysctl", "-w", "net.bridge.bridge-nf-call-iptables="+value, "net.bridge.bridge-nf-call-ip6tables="+value)
}

// Ports answer everybody who may ask, as those of a bridge do: the host itself
// by all of its addresses, other machines, neighbours, and the containers of
// other hosts.
func TestPublishedPortsBesideBrNetfilter(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeNetfilter)
	for _, protocol := range []string{"tcp", "udp"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.brNetfilter("1")
			c1, near, far := w.a.NewContainer("c1"), w.a.NewContainer("near"), w.b.NewContainer("far")
			req := published(c1, onPort80(protocol, netip.Addr{}))
			if r := w.addPublished(req); len(r.Warnings) > 0 {
				t.Errorf("warnings %q", r.Warnings)
			}
			w.add(w.a, near, static(1, ip4Peers))
			w.add(w.b, far, static(2, ip4Peers))
			c1.Serve(protocol, "[::]:80")
			for _, from := range []*nettest.Host{w.a, w.outside, near.Host, far.Host} {
				for _, address := range []string{"192.0.2.1:8080", "[2001:db8::1]:8080"} {
					from.Ask(protocol, address)
				}
			}
			for _, address := range []string{"127.0.0.1:8080", "[::1]:8080"} {
				w.a.Ask(protocol, address)
			}
			if err := check(w.a, req); err != nil {
				t.Error(err)
			}
		})
	}
}

// CVE-2020-8558: that the bridge routes loopback addresses is for the host
// alone, not for its containers, nor for those of other hosts.
func TestNobodyOnTheSegmentReachesTheHostsLoopback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c1, near, far := w.a.NewContainer("c1"), w.a.NewContainer("near"), w.b.NewContainer("far")
	w.addPublished(published(c1, onPort80("tcp", netip.Addr{}), plugins.PortMapping{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}))
	w.add(w.a, near, static(1, ip4Peers))
	w.add(w.b, far, static(2, ip4Peers))
	c1.Serve("tcp", "[::]:80")
	w.a.Serve("tcp", "[::]:631")
	far.Ping("10.42.0.10")
	mac := strings.Fields(w.a.Run("ip", "-br", "link", "show", "bo-front"))[2]
	for _, c := range []*nettest.Container{near, far} {
		c.Run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
		c.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
		c.Run("ip", "neighbour", "replace", "10.42.0.77", "lladdr", mac, "dev", "eth0")
		c.Run("ip", "route", "add", "127.0.0.1/32", "via", "10.42.0.77")
		for _, port := range []string{"631", "8080", "8081"} {
			if answer, err := c.TryAsk("tcp", "127.0.0.1:"+port); err == nil {
				t.Errorf("%s reaches port %s of the host's loopback: %s", c.Name, port, answer)
			}
		}
	}
	for _, port := range []string{"631", "8080", "8081"} {
		w.a.Ask("tcp", "127.0.0.1:"+port)
	}
}

// What can take the way around br_netfilter away: a hand, a bridge that is
// gone, and a br_netfilter that comes when the container is there already.
func TestWayAroundBrNetfilterIsMended(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeNetfilter)
	w := newWorld(t)
	w.brNetfilter("0")
	c1, c2 := w.a.NewContainer("c1"), w.a.NewContainer("c2")
	req := published(c1, onPort80("tcp", netip.IPv6Loopback()))
	port := w.addPublished(req).Interfaces[1].Name
	c1.Serve("tcp", "[::]:80")
	works := func(how string) {
		t.Helper()
		if err := check(w.a, req); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if _, err := w.a.TryAsk("tcp", "[::1]:8080"); err != nil {
			t.Errorf("%s: %v", how, err)
		}
	}
	missed := func(how string) {
		t.Helper()
		if err := check(w.a, req); err == nil || !strings.Contains(err.Error(), "br_netfilter") {
			t.Errorf("%s: CHECK says %v", how, err)
		}
	}
	works("without br_netfilter")
	w.brNetfilter("1")
	missed("br_netfilter has come")
	w.reload()
	works("after a reload")
	w.a.Run("tc", "qdisc", "del", "dev", port, "clsact")
	missed("the filter is gone")
	w.reload()
	w.a.Run("ip", "link", "delete", "bo-front")
	w.add(w.a, c2, static(1, ip4Peers))
	works("on a new bridge")
}

func (w *world) reload() {
	w.Helper()
	err := w.a.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		var records []*endpoint.Record
		if err := store.View(func(tx *state.Tx) (err error) { records, err = endpoint.List(tx, ""); return err }); err != nil {
			return err
		}
		return overlay.New(store).Reload(records)
	})
	if err != nil {
		w.Error(err)
	}
}

// A port that a process of the host listens on is not taken from it.
func TestPortOfAListenerIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.a.Listen("tcp", "192.0.2.1:8080")
	c := w.a.NewContainer("c1")
	if _, err := tryAdd(w.a, published(c, onPort80("tcp", netip.Addr{}))); err == nil || !strings.Contains(err.Error(), "8080") {
		t.Errorf("add: %v; want the port and who listens", err)
	}
	if out := w.a.Run("ip", "-br", "link"); strings.Contains(out, "front") {
		t.Errorf("devices are left:\n%s", out)
	}
}

// A flow of UDP that is older than the port follows to the container, and to
// the next when that has gone, though the client never pauses.
func TestUDPFlowsFollowThePort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(w.a, w.a.NewContainer("other"), static(1, ip4Peers)) // with it connections are tracked
	client, err := w.outside.Dial(t.Context(), "udp", "192.0.2.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := func() string {
		client.SetDeadline(time.Now().Add(200 * time.Millisecond))
		client.Write([]byte("who?"))
		buf := make([]byte, 64)
		n, _ := client.Read(buf)
		name, _, _ := strings.Cut(string(buf[:n]), " ")
		return name
	}
	if name := ask(); name != "" {
		t.Fatalf("%s answers before there is a container", name)
	}
	for _, name := range []string{"c1", "c2"} {
		c := w.a.NewContainer(name)
		req := published(c, onPort80("udp", netip.Addr{}))
		w.addPublished(req)
		c.Serve("udp", "0.0.0.0:80")
		nettest.Eventually(t, "the flow to reach "+name, func() error {
			if got := ask(); got != name {
				return fmt.Errorf("%q answers", got)
			}
			return nil
		})
		w.del(w.a, req)
	}
}
