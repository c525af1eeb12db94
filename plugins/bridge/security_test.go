package bridge_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// with is the key of a backend, with a comma behind it.
func with(backend string) string { return fmt.Sprintf(`"firewallBackend":%q,`, backend) }

// CVE-2020-8558, moby#45610: route_localnet on the bridge lets nobody but the
// host use its loopback addresses, whether a port is published there or not.
func TestNeighbourCannotReachTheHostsLoopback(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		serve(t, w.host, 631)
		c := w.host.NewContainer("c1")
		w.add(request(c, "front", config(1, `"ipMasq":true,`+with(backend)),
			plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
			plugins.PortMapping{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}))
		serve(t, c.Host, 80)
		for h, gw := range map[*nettest.Host]string{c.Host: "10.1.0.1", w.lan: "192.0.2.1"} {
			h.Try("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
			h.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
			h.Run("ip", "route", "add", "127.0.0.1/32", "via", gw)
			for _, port := range []int{631, 8080, 8081} {
				w.cannotReach(h, at("127.0.0.1", port))
			}
			w.cannotReach(h, at(gw, 8081))
		}
		for _, port := range []int{631, 8080, 8081} {
			w.reaches(w.host, at("127.0.0.1", port), "")
		}
	})
}

// CVE-2025-67499: a published port is the host's, not every host's.
func TestPublishedPortLeavesOtherHostsAlone(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		serve(t, w.lan, 53)
		c, client := w.host.NewContainer("dns"), w.host.NewContainer("client")
		conf := config(1, `"ipMasq":true,"hairpinMode":true,`+with(backend))
		w.add(request(c, "front", conf, plugins.PortMapping{HostPort: 53, ContainerPort: 53, Protocol: "tcp"}))
		w.add(request(client, "front", conf))
		w.reaches(client.Host, "192.0.2.2:53", "192.0.2.1")
		w.reaches(client.Host, "[2001:db8::2]:53", "2001:db8::1")
		w.reaches(w.host, "192.0.2.2:53", "192.0.2.1")
	})
}

// moby#45610: a route to the containers' subnet does not open their ports.
func TestContainerAddressIsNotReachedFromTheLAN(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		c := w.host.NewContainer("c1")
		r := w.add(request(c, "front", config(1, `"ipMasq":true,`+with(backend)), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
		serve(t, c.Host, 80)
		serve(t, c.Host, 81)
		for _, is4 := range []bool{true, false} {
			w.cannotReach(w.lan, at(address(r, is4), 80))
			w.cannotReach(w.lan, at(address(r, is4), 81))
		}
		w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	})
}

// CVE-2019-9946: the administrator's translations come first, and what the
// administrator drops stays dropped.
func TestAdministratorsRulesWin(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		serve(t, w.host, 7000)
		redirect := []string{"PREROUTING", "-t", "nat", "-p", "tcp", "--dport", "8080", "-j", "REDIRECT", "--to-ports", "7000"}
		if backend == "nftables" {
			w.host.Run("nft", "add table ip admin; add chain ip admin pre { type nat hook prerouting priority dstnat; }; add rule ip admin pre tcp dport 8080 redirect to :7000")
		} else {
			w.host.Run("iptables", append([]string{"-A"}, redirect...)...)
		}
		c := w.host.NewContainer("c1")
		w.add(request(c, "front", config(1, with(backend)), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
		w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2") // only the host serves yet
		if backend == "nftables" {
			w.host.Run("nft", "flush chain ip admin pre")
		} else {
			w.host.Run("iptables", append([]string{"-D"}, redirect...)...)
		}
		serve(t, c.Host, 80)
		w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
		w.host.Run("nft", "add table ip admin; add chain ip admin forw { type filter hook forward priority filter; }; add rule ip admin forw ip daddr 10.1.0.0/24 drop")
		w.cannotReach(w.lan, "192.0.2.1:8080")
	})
}

// CVE-2021-32575: a guarded port speaks with its own MAC and for its own
// addresses.
func TestForgedAddresses(t *testing.T) { eachBackend(t, forgeAddresses) }

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
// rules, and a connection that goes on does not notice.
func TestIsolationAfterAFlush(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		a, b := w.host.NewContainer("a"), w.host.NewContainer("b")
		ra := request(a, "front", config(1, `"ipMasq":true,`+with(backend)), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Count: 2, Protocol: "tcp"})
		one := w.add(ra)
		rb := request(b, "back", config(2, `"ipMasq":true,`+with(backend)))
		w.add(rb)
		serve(t, a.Host, 80)
		w.cannotReach(b.Host, at(address(one, true), 80))
		goesOn := w.conversation(a.Host, 81, w.lan, "192.0.2.1:8081")
		w.host.Run("nft", "flush", "ruleset")
		w.reaches(b.Host, at(address(one, true), 80), "")
		if err := w.check(ra); err == nil {
			t.Error("CHECK finds nothing missing after a flush")
		}
		w.reload()
		goesOn()
		w.cannotReach(b.Host, at(address(one, true), 80))
		w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
		for _, req := range []*plugins.Request{ra, rb} {
			if err := w.check(req); err != nil {
				t.Error(err)
			}
		}
	})
}

// conversation opens a connection to a server that says everything again, and
// returns what fails the test where the connection does not go on.
func (w *world) conversation(server *nettest.Host, port int, client *nettest.Host, address string) (goesOn func()) {
	w.Helper()
	l := server.Listen("tcp", fmt.Sprintf(":%d", port))
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := client.Dial(w.Context(), "tcp", address)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.Close() })
	goesOn = func() {
		w.Helper()
		word := make([]byte, 5)
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			w.Errorf("the connection to %s: %v", address, err)
		} else if _, err := io.ReadFull(c, word); err != nil || string(word) != "hello" {
			w.Errorf("the connection to %s answers %q, %v", address, word, err)
		}
	}
	goesOn()
	return goesOn
}

func TestInternalNetworkHasNoWayOut(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		serve(t, w.lan, 80)
		c, d := w.host.NewContainer("c"), w.host.NewContainer("d")
		conf := config(1, `"ipMasq":true,"internal":true,`+with(backend))
		w.add(request(c, "front", conf))
		r := w.add(request(d, "front", conf))
		serve(t, d.Host, 80)
		w.cannotReach(c.Host, "192.0.2.2:80")
		w.cannotReach(c.Host, "[2001:db8::2]:80")
		for _, is4 := range []bool{true, false} {
			w.reaches(c.Host, at(address(r, is4), 80), "")
			w.reaches(w.host, at(address(r, is4), 80), "")
			w.cannotReach(w.lan, at(address(r, is4), 80))
		}
	})
}

// icc of false: what is bridged is stopped by the isolation of the ports, and
// what two containers send each other by way of the gateway by the rules.
func TestContainersKeptApart(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		w.brNetfilter("0") // which would hand the rules what is bridged, too
		c, d := w.host.NewContainer("c"), w.host.NewContainer("d")
		conf := config(1, `"icc":false,"isolate":false,"hairpinMode":true,`+with(backend))
		rc := w.add(request(c, "front", conf))
		r := w.add(request(d, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
		serve(t, d.Host, 80)
		for _, is4 := range []bool{true, false} {
			w.cannotReach(c.Host, at(address(r, is4), 80))
			w.reaches(w.host, at(address(r, is4), 80), "")
		}
		for _, to := range []struct {
			from *nettest.Container
			r    *plugins.Result
		}{{c, r}, {d, rc}} {
			to.from.Run("ip", "route", "add", address(to.r, true)+"/32", "via", "10.1.0.1")
			to.from.Run("ip", "-6", "route", "add", address(to.r, false)+"/128", "via", "fd10:1::1")
		}
		for _, is4 := range []bool{true, false} {
			w.cannotReach(c.Host, at(address(r, is4), 80))
		}
		w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
		w.reaches(w.lan, "[2001:db8::1]:8080", "2001:db8::2")
	})
}

// The default route that an uplink learned from its router stays when
// forwarding goes on, and the router is still heard: docker/for-linux#1373.
func TestUplinkKeepsListeningToItsRouter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0", "net.ipv6.conf.eth0.accept_ra=1")
	learn := func() {
		t.Helper()
		nettest.Eventually(t, "the host learns a default route", func() error {
			w.lan.AdvertiseRouter("eth0", netip.MustParsePrefix("2001:db8:5::/64"))
			if out := w.host.Run("ip", "-6", "route", "show", "default"); !strings.Contains(out, "proto ra") {
				return errors.New(out)
			}
			return nil
		})
	}
	learn()
	w.add(request(w.host.NewContainer("c1"), "front", config(1, "")))
	if got := strings.TrimSpace(w.host.Run("cat", "/proc/sys/net/ipv6/conf/all/forwarding")); got != "1" {
		t.Errorf("forwarding is %s", got)
	}
	if out := w.host.Run("ip", "-6", "route", "show", "default"); !strings.Contains(out, "proto ra") {
		t.Errorf("the uplink's default route has gone:\n%s", out)
	}
	w.host.Run("ip", "-6", "route", "flush", "proto", "ra")
	learn()
}

// br_netfilter is not asked for anything, and nobody's policy changes.
func TestTheHostsSettingsStay(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		w.host.Run("nft", "add table ip filter; add chain ip filter INPUT { type filter hook input priority filter; policy drop; }; add rule ip filter INPUT accept")
		settings := func() string {
			out, _ := w.host.Try("sysctl", "net.bridge", "net.netfilter.nf_conntrack_tcp_loose")
			return out + w.host.Run("nft", "list", "chain", "ip", "filter", "INPUT") + w.host.Run("sh", "-c", "grep -c br_netfilter /proc/modules || true")
		}
		before := settings()
		req := request(w.host.NewContainer("c1"), "front", config(1, `"ipMasq":true,`+with(backend)), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
		w.add(req)
		if after := settings(); after != before {
			t.Errorf("before ADD:\n%s\nafter:\n%s", before, after)
		}
		w.del(req)
	})
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
