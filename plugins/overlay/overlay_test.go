package overlay_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// One file lists both hosts and serves both: only the ranges differ.
func static(host int, peers string) string {
	return fmt.Sprintf(`{"type":"overlay","vni":42,"peers":[%s],"ipMasq":true,"ipam":{"type":"berth-ipam","ranges":[
		[{"subnet":"10.42.0.0/24","rangeStart":"10.42.0.%[2]d0","rangeEnd":"10.42.0.%[2]d9","gateway":"10.42.0.1"}],
		[{"subnet":"fd42::/64","rangeStart":"fd42::%[2]d0","rangeEnd":"fd42::%[2]d9","gateway":"fd42::1"}]],
		"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}`, peers, host)
}

const (
	ip4Peers = `"192.0.2.1","192.0.2.2"`
	ip6Peers = `"2001:db8::1","2001:db8::2"`
)

func TestTwoHostsWithNothingButTheConfiguration(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		peers string
		mtu   int
	}{"IPv4 underlay": {ip4Peers, 1450}, "IPv6 underlay": {ip6Peers, 1430}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			before := w.a.Links() + w.a.Rules()
			c1, c2 := w.a.NewContainer("c1"), w.b.NewContainer("c2")
			r := w.add(w.a, c1, static(1, tt.peers))
			w.add(w.b, c2, static(2, tt.peers))
			if r.Interfaces[0].MTU != tt.mtu {
				t.Errorf("MTU is %d, want %d", r.Interfaces[0].MTU, tt.mtu)
			}
			for _, ip := range []string{"10.42.0.20", "fd42::20"} {
				url := c2.ServeHTTP(netip.AddrPortFrom(netip.MustParseAddr(ip), 80).String())
				c1.Get(url)
			}
			c1.Run("ping", "-c1", "-W2", "-M", "do", "-s", fmt.Sprint(tt.mtu-28), "10.42.0.20")
			for h, c := range map[*nettest.Host]*nettest.Container{w.a: c1, w.b: c2} {
				if err := check(h, request(c, static(1, tt.peers))); err != nil {
					t.Error(err)
				}
			}
			w.a.Run("nft", "flush", "chain", "bridge", "berth-anycast", "out")
			if err := check(w.a, request(c1, static(1, tt.peers))); !errors.Is(err, firewall.ErrMissing) {
				t.Errorf("check of a host whose anycast gateway is not kept within it: %v", err)
			}
			w.del(w.a, request(c1, static(1, tt.peers)))
			w.del(w.a, request(c1, static(1, tt.peers)))
			if out := w.a.Run("ip", "-br", "link"); strings.Contains(out, "front") {
				t.Errorf("devices are left of %s:\n%s", before, out)
			}
			if rules := w.a.Run("nft", "list", "tables"); strings.Contains(rules, "anycast") {
				t.Errorf("the anycast table is left: %s", rules)
			}
		})
	}
}

func TestEgressIsOnTheContainersOwnHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c1, c2 := w.a.NewContainer("c1"), w.b.NewContainer("c2")
	w.add(w.a, c1, static(1, ip4Peers))
	w.add(w.b, c2, static(2, ip4Peers))
	w.outside.Serve("tcp", "192.0.2.9:80")
	for c, host := range map[*nettest.Container]string{c1: "192.0.2.1", c2: "192.0.2.2"} {
		if answer := c.Ask("tcp", "192.0.2.9:80"); answer.Client.Addr().String() != host {
			t.Errorf("%s goes out as %s, want %s", c.Name, answer.Client, host)
		}
	}
}

func TestTheGatewayDoesNotLeakToOtherHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c1, c2 := w.a.NewContainer("c1"), w.b.NewContainer("c2")
	w.add(w.a, c1, static(1, ip4Peers))
	w.add(w.b, c2, static(2, ip4Peers))
	c1.Ping("10.42.0.20")
	c1.Ping("fd42::20")
	// A's gateway gone, nobody must answer for it: B has the same.
	w.a.Run("ip", "address", "flush", "dev", "bo-front")
	c1.Run("ip", "neighbour", "flush", "dev", "eth0")
	for _, gateway := range []string{"10.42.0.1", "fd42::1"} {
		if err := c1.TryPing(gateway); err == nil {
			t.Errorf("the gateway %s of another host answers", gateway)
		}
	}
	c1.Ping("10.42.0.20")
}

func TestAClashWithAnothersVXLANNamesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.a.Run("ip", "link", "add", "flannel.1", "type", "vxlan", "id", "42", "dstport", "4789", "local", "192.0.2.1")
	c := w.a.NewContainer("c1")
	_, err := tryAdd(w.a, request(c, static(1, ip4Peers)))
	if err == nil || !strings.Contains(err.Error(), "flannel.1") {
		t.Fatalf("add beside flannel.1: %v", err)
	}
	if out := w.a.Run("ip", "-br", "link"); strings.Contains(out, "front") || strings.Contains(out, "vo") {
		t.Errorf("devices are left:\n%s", out)
	}
}

func TestChecksumOffloadIsTurnedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for offload, want := range map[string]string{"on": "on", "off": "off"} {
		c := w.a.NewContainer("c" + offload)
		config := strings.Replace(static(1, ip4Peers), "{", `{"checksumOffload":"`+offload+`",`, 1)
		w.add(w.a, c, config)
		w.expectOffload(w.a, "vx-front", want)
		w.del(w.a, request(c, config))
	}
}

func (w *world) expectOffload(h *nettest.Host, device, want string) {
	w.Helper()
	out := h.Run("ethtool", "-k", device)
	if !strings.Contains(out, "tx-checksumming: "+want+"\n") {
		w.Errorf("checksum offload of %s is not %s:\n%s", device, want, out)
	}
}

func TestAddMendsADeletedDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c1, c2, c3 := w.a.NewContainer("c1"), w.b.NewContainer("c2"), w.a.NewContainer("c3")
	w.add(w.a, c1, static(1, ip4Peers))
	w.add(w.b, c2, static(2, ip4Peers))
	w.a.Run("ip", "link", "delete", "vx-front")
	if err := check(w.a, request(c1, static(1, ip4Peers))); err == nil {
		t.Error("CHECK does not see that the VXLAN device is gone")
	}
	w.add(w.a, c3, static(1, ip4Peers))
	nettest.Eventually(t, "c1 to reach c2", func() error { return c1.TryPing("10.42.0.20") })
	nettest.Eventually(t, "c3 to reach c2", func() error { return c3.TryPing("fd42::20") })
}

// A kill as the devices are made leaves a VXLAN device without an alias, which
// is the next Add's to finish; the bridge being gone too, that Add puts those
// who were on it on the new one.
func TestAddFinishesADeviceThatWasNotNamedYet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c1, c2, c3 := w.a.NewContainer("c1"), w.b.NewContainer("c2"), w.a.NewContainer("c3")
	w.add(w.a, c1, static(1, ip4Peers))
	w.add(w.b, c2, static(2, ip4Peers))
	mac := strings.Fields(strings.SplitAfter(w.a.Run("ip", "-o", "link", "show", "vx-front"), "link/ether ")[1])[0]
	w.a.Run("ip", "link", "delete", "vx-front")
	w.a.Run("ip", "link", "delete", "bo-front")
	w.a.Run("ip", "link", "add", "vx-front", "address", mac, "type", "vxlan", "id", "42", "local", "192.0.2.1", "dstport", "4789")
	w.add(w.a, c3, static(1, ip4Peers))
	nettest.Eventually(t, "c3 to reach c2", func() error { return c3.TryPing("fd42::20") })
	nettest.Eventually(t, "c1 to reach c2", func() error { return c1.TryPing("10.42.0.20") })
}

func TestConfigurationIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.a.NewContainer("c1")
	for config, want := range map[string]string{
		`{"peers":["192.0.2.2"]}`:                                  "vni",
		`{"vni":16777216,"peers":["192.0.2.2"]}`:                   "vni",
		`{"vni":16777215}`:                                         "agents",
		`{"vni":1,"peers":[]}`:                                     "peers",
		`{"vni":1,"peers":["192.0.2.2","2001:db8::2"]}`:            "famil",
		`{"vni":1,"peers":["192.0.2.2","192.0.2.2"]}`:              "twice",
		`{"vni":1,"peers":["224.0.0.1"]}`:                          "224.0.0.1",
		`{"vni":1,"peers":["127.0.0.1"]}`:                          "127.0.0.1",
		`{"vni":1,"peers":["fe80::1"]}`:                            "link-local",
		`{"vni":1,"peers":["192.0.2.1"]}`:                          "this host",
		`{"vni":1,"peers":["192.0.2.2"],"local":"192.0.2.77"}`:     "local",
		`{"vni":1,"peers":["192.0.2.2"],"local":"2001:db8::1"}`:    "famil",
		`{"vni":1,"peers":["192.0.2.2"],"underlay":"eth7"}`:        "underlay",
		`{"vni":1,"peers":["192.0.2.2"],"mtu":1500}`:               "1450",
		`{"vni":1,"peers":["192.0.2.2"],"encrypted":true}`:         "encrypted",
		`{"vni":1,"peers":["192.0.2.2"],"mtu":100}`:                "mtu",
		`{"vni":1,"peers":["192.0.2.2"],"bridge":"a/b"}`:           "bridge",
		`{"vni":1,"peers":["192.0.2.2"],"controlPlane":"gossip"}`:  "controlPlane",
		`{"vni":1,"peers":["192.0.2.2"],"controlPlane":"evpn"}`:    "peers",
		`{"vni":1,"controlPlane":"evpn"}`:                          "underlay",
		`{"vni":1,"peers":["192.0.2.2"],"evpnIPv6":true}`:          "evpnIPv6",
		`{"vni":1,"peers":["192.0.2.2"],"checksumOffload":"auto"}`: "agent",
		`{"vni":1,"peers":["192.0.2.2"],"checksumOffload":"no"}`:   "checksumOffload",
		`{"vni":"x","peers":["192.0.2.2"]}`:                        "decode",
		`{"vni":1,"port":65536,"peers":["192.0.2.2"]}`:             "decode",
		`{"vni":1,"peers":["192.0.2.300"]}`:                        "decode",
	} {
		_, err := tryAdd(w.a, request(c, config))
		var coded *plugins.Error
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &coded) {
			t.Errorf("%s: %v; want a coded error that says %q", config, err, want)
		}
	}
	if out := w.a.Run("ip", "-br", "link"); strings.Contains(out, "front") {
		t.Errorf("devices are left:\n%s", out)
	}
}

func TestAnInternalOverlayHasNoWayOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	internal := func(host int) string {
		return strings.Replace(static(host, ip4Peers), `"ipMasq":true`, `"internal":true`, 1)
	}
	c1, c2 := w.a.NewContainer("c1"), w.b.NewContainer("c2")
	w.add(w.a, c1, internal(1))
	w.add(w.b, c2, internal(2))
	c1.Ping("10.42.0.20")
	// The outside knows the way back, so that nothing but the rule stands between.
	w.outside.Run("ip", "route", "add", "10.42.0.0/24", "via", "192.0.2.1")
	w.a.Run("sysctl", "-qw", "net.ipv4.ip_forward=1")
	if err := c1.TryPing("192.0.2.9"); err == nil {
		t.Error("a container of an internal network reaches the outside")
	}
	if err := w.outside.TryPing("10.42.0.10"); err == nil {
		t.Error("the outside reaches a container of an internal network")
	}
}

func TestHairpinModeOfThePort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, keys := range map[string]string{"on": `"hairpinMode":true`, "off": `"hairpinMode":false`} {
		c := w.a.NewContainer(name)
		r := w.add(w.a, c, strings.Replace(static(1, ip4Peers), `"ipMasq":true`, keys, 1))
		if out := w.a.Run("bridge", "-d", "link", "show", "dev", r.Interfaces[1].Name); !strings.Contains(out, "hairpin "+name) {
			t.Errorf("hairpin %s: port\n%s", name, out)
		}
	}
}
