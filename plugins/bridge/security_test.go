package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// CVE-2020-8558: route_localnet on the bridge lets nobody but the host use
// its loopback addresses.
func TestNeighbourCannotReachTheHostsLoopback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serve(t, w.host, 631)
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", config(1, `"ipMasq":true,`), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	serve(t, c.Host, 80)
	for _, from := range []string{"container", "lan"} {
		h, gw := c.Host, "10.1.0.1"
		if from == "lan" {
			h, gw = w.lan, "192.0.2.1"
		}
		h.Try("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
		h.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
		h.Run("ip", "route", "add", "127.0.0.1/32", "via", gw)
		w.cannotReach(h, "127.0.0.1:631")
		w.cannotReach(h, "127.0.0.1:8080")
	}
	w.reaches(w.host, "127.0.0.1:631", "")
	w.reaches(w.host, "127.0.0.1:8080", "")
}

// CVE-2025-67499: a published port is the host's, not every host's.
func TestPublishedPortLeavesOtherHostsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serve(t, w.lan, 53)
	c, client := w.host.NewContainer("dns"), w.host.NewContainer("client")
	conf := config(1, `"ipMasq":true,"hairpinMode":true,`)
	w.add(request(c, "front", conf, plugins.PortMapping{HostPort: 53, ContainerPort: 53, Protocol: "tcp"}))
	w.add(request(client, "front", conf))
	w.reaches(client.Host, "192.0.2.2:53", "192.0.2.1")
	w.reaches(client.Host, "[2001:db8::2]:53", "2001:db8::1")
}

// moby#45610: a route to the containers' subnet does not open their ports.
func TestContainerAddressIsNotReachedFromTheLAN(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	r := w.add(request(c, "front", config(1, `"ipMasq":true,`), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	serve(t, c.Host, 80)
	serve(t, c.Host, 81)
	for _, is4 := range []bool{true, false} {
		w.cannotReach(w.lan, at(address(r, is4), 80))
		w.cannotReach(w.lan, at(address(r, is4), 81))
	}
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
}

// CVE-2019-9946: the administrator's translations come first.
func TestAdministratorsRulesWin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serve(t, w.host, 7000)
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", config(1, ""), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	w.host.Run("nft", "add table ip admin; add chain ip admin pre { type nat hook prerouting priority dstnat; }; add rule ip admin pre tcp dport 8080 redirect to :7000")
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	w.host.Run("nft", "add table ip admin; add chain ip admin forw { type filter hook forward priority filter; }; add rule ip admin forw ip daddr 10.1.0.0/24 drop; flush chain ip admin pre")
	serve(t, c.Host, 80)
	w.cannotReach(w.lan, "192.0.2.1:8080")
}

// CVE-2021-32575: a guarded port speaks with its own MAC and for its own
// addresses.
func TestForgedAddresses(t *testing.T) {
	t.Parallel()
	for _, backend := range backends(t) {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			forgeAddresses(t, backend)
		})
	}
}

func forgeAddresses(t *testing.T, backend string) {
	w := newWorld(t)
	evil, peer := w.host.NewContainer("evil"), w.host.NewContainer("peer")
	conf := config(1, fmt.Sprintf(`"macspoofchk":true,"firewallBackend":%q,`, backend))
	req := request(evil, "front", conf)
	r := w.add(req)
	p := w.add(request(peer, "front", conf))
	serve(t, peer.Host, 80)
	w.reaches(evil.Host, at(address(p, true), 80), address(r, true))
	w.reaches(evil.Host, at(address(p, false), 80), address(r, false))
	// An address that is not its own: nobody gets to hear of it.
	evil.Run("ip", "address", "add", "10.1.0.77/24", "dev", "eth0")
	evil.Run("ip", "-6", "address", "add", "fd10:1::77/64", "dev", "eth0", "nodad")
	for _, forged := range []string{"10.1.0.77", "fd10:1::77"} {
		if out, err := peer.Try("ping", "-c1", "-W1", forged); err == nil {
			t.Errorf("peer believes the forged %s:\n%s", forged, out)
		}
	}
	evil.Run("ip", "address", "del", "10.1.0.77/24", "dev", "eth0")
	if err := w.check(req); err != nil {
		t.Error(err)
	}
	evil.Run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:66")
	w.cannotReach(evil.Host, at(address(p, true), 80))
}

// CVE-2025-54410: isolation and ports come back after somebody flushed all
// rules, and connections that go on do not notice.
func TestIsolationAfterAFlush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.host.NewContainer("a"), w.host.NewContainer("b")
	ra := request(a, "front", config(1, `"ipMasq":true,`), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	one := w.add(ra)
	rb := request(b, "back", config(2, `"ipMasq":true,`))
	w.add(rb)
	serve(t, a.Host, 80)
	w.cannotReach(b.Host, at(address(one, true), 80))
	w.host.Run("nft", "flush", "ruleset")
	w.reaches(b.Host, at(address(one, true), 80), "")
	if err := w.check(ra); err == nil {
		t.Error("CHECK finds nothing missing after a flush")
	}
	w.reload()
	w.cannotReach(b.Host, at(address(one, true), 80))
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	if err := w.check(ra); err != nil {
		t.Error(err)
	}
	if err := w.check(rb); err != nil {
		t.Error(err)
	}
}

func TestInternalNetworkHasNoWayOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serve(t, w.lan, 80)
	c, d := w.host.NewContainer("c"), w.host.NewContainer("d")
	conf := config(1, `"ipMasq":true,"internal":true,`)
	w.add(request(c, "front", conf))
	r := w.add(request(d, "front", conf))
	serve(t, d.Host, 80)
	w.cannotReach(c.Host, "192.0.2.2:80")
	w.cannotReach(c.Host, "[2001:db8::2]:80")
	w.reaches(c.Host, at(address(r, true), 80), "")
	w.reaches(w.host, at(address(r, true), 80), "")
	w.cannotReach(w.lan, at(address(r, true), 80))
}

func TestContainersKeptApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, d := w.host.NewContainer("c"), w.host.NewContainer("d")
	conf := config(1, `"icc":false,"hairpinMode":true,`)
	w.add(request(c, "front", conf))
	r := w.add(request(d, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	serve(t, d.Host, 80)
	serve(t, d.Host, 81)
	for _, is4 := range []bool{true, false} {
		w.cannotReach(c.Host, at(address(r, is4), 80))
	}
	w.reaches(w.host, at(address(r, true), 80), "")
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
}

// The default route that an uplink learned from its router stays when
// forwarding goes on: docker/for-linux#1373.
func TestUplinkKeepsListeningToItsRouter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0", "net.ipv6.conf.eth0.accept_ra=1")
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", config(1, "")))
	if got := strings.TrimSpace(w.host.Run("cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra")); got != "2" {
		t.Errorf("accept_ra of eth0 is %s", got)
	}
}

// An address that was another container's is known by that one's MAC; the new
// holder must be heard at once and not only when the entry expires.
func TestNeighboursLearnTheNewHolderOfAnAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conf := config(1, "")
	first := w.host.NewContainer("first")
	w.add(request(first, "front", conf))
	for _, dst := range []string{"10.1.0.3", "fd10:1::3"} {
		w.host.Run("ip", "neigh", "replace", dst, "lladdr", "02:00:00:00:00:99", "dev", "br1", "nud", "stale")
		first.Run("ip", "neigh", "replace", dst, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale")
	}
	r := w.add(request(w.host.NewContainer("second"), "front", conf))
	if address(r, true) != "10.1.0.3" || address(r, false) != "fd10:1::3" {
		t.Fatalf("the second container has %v", r.IPs)
	}
	mac := r.Interfaces[2].MAC.String()
	for _, h := range []*nettest.Host{w.host, first.Host} {
		for _, dst := range []string{"10.1.0.3", "fd10:1::3"} {
			nettest.Eventually(t, h.Name+" knows "+dst, func() error {
				if out := h.Run("ip", "neigh", "show", dst); !strings.Contains(out, mac) {
					return fmt.Errorf("not %s: %s", mac, out)
				}
				return nil
			})
		}
	}
}
