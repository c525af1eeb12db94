package bridge_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// strictWorld has a container whose ports 8080 and 8081, of every protocol,
// are published strictly; the host's INPUT forbids 8081.
func strictWorld(t *testing.T, backend, keys string) (*world, *nettest.Container, *plugins.Request) {
	w := newWorld(t)
	w.host.Run("nft", "add table inet admin; add chain inet admin in { type filter hook input priority filter; }; add rule inet admin in meta l4proto { tcp, udp } th dport 8081 drop")
	c := w.host.NewContainer("c1")
	var ports []plugins.PortMapping
	for _, protocol := range []string{"tcp", "udp"} {
		ports = append(ports, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: protocol}, plugins.PortMapping{HostPort: 8081, ContainerPort: 80, Protocol: protocol})
	}
	req := request(c, "front", config(1, fmt.Sprintf(`"strictPublish":true,"hairpinMode":true,"firewallBackend":%q,%s`, backend, keys)), ports...)
	w.add(req)
	for _, network := range []string{"tcp4", "tcp6", "udp4", "udp6"} {
		servePort(c.Host, network, 80)
	}
	w.acquaint(c.Host, "fd10:1::1")
	return w, c, req
}

// acquaint has everybody know their IPv6 neighbours: a new device does not ask
// for them while its link-local address is tentative, and packets wait.
func (w *world) acquaint(container *nettest.Host, gateway string) {
	w.Helper()
	nettest.Eventually(w.T, "neighbours know each other", func() error {
		return errors.Join(w.lan.TryPing("2001:db8::1"), container.TryPing(gateway))
	})
}

func eachBackend(t *testing.T, test func(t *testing.T, backend string)) {
	t.Parallel()
	for _, backend := range backends(t) {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			test(t, backend)
		})
	}
}

// atOnce asks, and fails where a packet had to be sent twice: the first of a
// client is what strict ports could lose. A datagram is sent once anyway.
func (w *world) atOnce(from *nettest.Host, network, host, as string) {
	w.Helper()
	if strings.HasPrefix(network, "tcp") {
		c, err := from.Dial(w.Context(), network, at(host, 8080))
		if err != nil {
			w.Errorf("%s connects to %s: %v", from.Name, host, err)
			return
		}
		defer c.Close()
		if n := retransmissions(w.T, c.(*net.TCPConn)); n != 0 {
			w.Errorf("%s connects to %s, and %d packets were lost", from.Name, host, n)
		}
	}
	w.answers(reach{from, host, as, network}, 8080, "80")
}

// retransmissions is how many packets the kernel sent again.
func retransmissions(t *testing.T, c *net.TCPConn) (n uint32) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Total_retrans
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// INPUT decides, whoever wrote its rules, and no packet is lost by asking it.
func TestStrictPublishHonoursINPUT(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w, _, req := strictWorld(t, backend, `"ipMasq":true,`)
		near, other := w.host.NewContainer("near"), w.host.NewContainer("other")
		w.add(request(near, "front", string(req.Config)))
		w.add(request(other, "back", config(2, fmt.Sprintf(`"firewallBackend":%q,`, backend))))
		w.acquaint(near.Host, "fd10:1::1")
		w.acquaint(other.Host, "fd10:2::1")
		// A stricter filter for all devices has to be loose for the loop.
		w.host.Run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
		for _, protocol := range []string{"tcp", "udp"} {
			w.atOnce(w.lan, protocol, "192.0.2.1", "192.0.2.2")
			w.atOnce(w.lan, protocol, "2001:db8::1", "2001:db8::2")
			w.atOnce(w.host, protocol, "192.0.2.1", "192.0.2.1")
			w.atOnce(w.host, protocol, "127.0.0.1", "")
			for _, c := range []*nettest.Container{near, other} {
				w.atOnce(c.Host, protocol, "192.0.2.1", "")
				w.atOnce(c.Host, protocol, "2001:db8::1", "")
			}
		}
		for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
			w.cannotReach(w.lan, at(host, 8081))
		}
		if err := w.check(req); err != nil {
			t.Error(err)
		}
		w.del(req)
		w.cannotReach(w.lan, "192.0.2.1:8080")
	})
}

// INPUT is asked for each connection, not once for each client.
func TestStrictPublishAsksINPUTEveryTime(t *testing.T) {
	t.Parallel()
	w, _, _ := strictWorld(t, "nftables", "")
	for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
		w.atOnce(w.lan, "tcp", host, "")
	}
	w.host.Run("nft", "add rule inet admin in tcp dport 8080 drop")
	for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
		w.cannotReach(w.lan, at(host, 8080))
	}
}

// Where the copy gets lost, here by the host's own OUTPUT rules, the client's
// second packet comes through.
func TestStrictPublishWithoutTheLoop(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w, _, _ := strictWorld(t, backend, "")
		w.host.Run("nft", "add chain inet admin out { type filter hook output priority filter; }; add rule inet admin out oifname berth-strict drop")
		for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
			w.reaches(w.lan, at(host, 8080), "")
			w.cannotReach(w.lan, at(host, 8081))
		}
	})
}

// A packet that comes around the loop has lost where it came from: a network
// without a way out must not find one there.
func TestStrictPublishIsNoWayOutOfAnInternalNetwork(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w, _, _ := strictWorld(t, backend, "")
		inner := w.host.NewContainer("inner")
		w.add(request(inner, "inner", config(2, fmt.Sprintf(`"internal":true,"firewallBackend":%q,`, backend))))
		w.acquaint(inner.Host, "fd10:2::1")
		for range 2 { // the second time INPUT has let it in already
			w.cannotReach(inner.Host, "10.2.0.1:8080")
			w.cannotReach(inner.Host, "[fd10:2::1]:8080")
		}
	})
}

// Those of an internal network reach its own strict ports at once, by the
// host's address, and no other network's.
func TestStrictPublishInsideAnInternalNetwork(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w, _, req := strictWorld(t, backend, `"internal":true,`)
		near, other, inner := w.host.NewContainer("near"), w.host.NewContainer("other"), w.host.NewContainer("inner")
		w.add(request(near, "front", string(req.Config)))
		open := plugins.PortMapping{HostPort: 8082, ContainerPort: 80, Protocol: "tcp"}
		w.add(request(other, "back", config(2, fmt.Sprintf(`"strictPublish":true,"firewallBackend":%q,`, backend)), open))
		servePort(other.Host, "tcp4", 80)
		servePort(other.Host, "tcp6", 80)
		w.add(request(inner, "inner", config(3, fmt.Sprintf(`"internal":true,"firewallBackend":%q,`, backend))))
		for i, c := range []*nettest.Container{near, other, inner} {
			w.acquaint(c.Host, fmt.Sprintf("fd10:%d::1", i+1))
		}
		for _, protocol := range []string{"tcp", "udp"} {
			for _, host := range []string{"10.1.0.1", "fd10:1::1", "192.0.2.1", "2001:db8::1"} {
				w.atOnce(near.Host, protocol, host, "")
			}
		}
		for _, c := range []*nettest.Host{other.Host, inner.Host, w.lan} {
			for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
				w.cannotReach(c, at(host, 8080))
				w.cannotReach(c, at(host, 8080)) // INPUT has let it in by now
			}
		}
		w.cannotReach(near.Host, "10.1.0.1:8081")
		for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
			w.reaches(w.lan, at(host, 8082), "")
			w.cannotReach(near.Host, at(host, 8082))
		}
		if err := w.check(req); err != nil {
			t.Error(err)
		}
	})
}

// An OUTPUT that drops by default gets an accept for the loop where its tool
// wants one, and loses it with the network.
func TestStrictPublishBesideAnOutputPolicyOfDrop(t *testing.T) {
	for _, tool := range iptablesTools(t) {
		for _, place := range []string{"ufw-user-output", "OUTPUT"} {
			t.Run(tool+"/"+place, func(t *testing.T) {
				eachBackend(t, func(t *testing.T, backend string) { outputDrops(t, backend, tool, place) })
			})
		}
	}
}

// iptablesTools are those of the kinds that this kernel has.
func iptablesTools(t *testing.T) []string {
	tools := []string{"iptables"}
	if _, err := nettest.NewHost(t, "h").Try("iptables-legacy", "-S"); err == nil {
		tools = append(tools, "iptables-legacy")
	}
	return tools
}

func outputDrops(t *testing.T, backend, tool, place string) {
	w := newWorld(t)
	tools := []string{tool, strings.Replace(tool, "iptables", "ip6tables", 1)}
	for i, tool := range tools {
		place := strings.Replace(place, "ufw-", []string{"ufw-", "ufw6-"}[i], 1)
		w.host.Run(tool, "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT")
		w.host.Run(tool, "-A", "OUTPUT", "-p", []string{"icmp", "icmpv6"}[i], "-j", "ACCEPT")
		w.host.Run(tool, "-P", "OUTPUT", "DROP")
		if place != "OUTPUT" {
			w.host.Run(tool, "-N", place)
			w.host.Run(tool, "-A", "OUTPUT", "-j", place)
		}
	}
	c := w.host.NewContainer("c1")
	req := request(c, "front", config(1, `"strictPublish":true,`+with(backend)), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	w.add(req)
	servePort(c.Host, "tcp4", 80)
	servePort(c.Host, "tcp6", 80)
	w.acquaint(c.Host, "fd10:1::1")
	w.atOnce(w.lan, "tcp", "192.0.2.1", "192.0.2.2")
	w.atOnce(w.lan, "tcp", "2001:db8::1", "2001:db8::2")
	w.del(req)
	w.forget(backend)
	for _, tool := range tools {
		if out := w.host.Run(tool, "-S"); strings.Contains(out, "berth:pass") || !strings.Contains(out, "-P OUTPUT DROP") {
			t.Errorf("after the network:\n%s", out)
		}
	}
}

// The loop is gone with the last network that has strict ports.
func TestTheLoopGoesWithTheLastStrictPort(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w, _, req := strictWorld(t, backend, "")
		w.forgetNetwork(backend, "br2")
		if !strings.Contains(w.host.Links(), "berth-strict") {
			t.Error("the loop went with another network")
		}
		w.del(req)
		w.forgetNetwork(backend, "br1")
		if left := w.host.Links() + w.host.Run("ip", "-6", "rule"); strings.Contains(left, "berth-") || strings.Contains(left, "fwmark") {
			t.Errorf("left behind:\n%s", left)
		}
		if out, err := w.host.Try("nft", "list", "tables"); err != nil || strings.Contains(out, "ip berth") || strings.Contains(out, "ip6 berth") {
			t.Errorf("left behind: %v\n%s", err, out)
		}
		if _, err := exec.LookPath("ipset"); err == nil {
			if out := w.host.Run("ipset", "list", "-n"); out != "" {
				t.Errorf("left behind:\n%s", out)
			}
		}
	})
}

// A strict port of one address is not published on the others.
func TestStrictPublishOnOneAddress(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		w.host.Run("ip", "address", "add", "192.0.2.9/24", "dev", "eth0")
		c := w.host.NewContainer("c1")
		w.add(request(c, "front", config(1, fmt.Sprintf(`"strictPublish":true,"firewallBackend":%q,`, backend)),
			plugins.PortMapping{HostIP: netip.MustParseAddr("192.0.2.9"), HostPort: 8080, ContainerPort: 80, Count: 2, Protocol: "tcp"}))
		servePort(c.Host, "tcp4", 80)
		w.atOnce(w.lan, "tcp4", "192.0.2.9", "192.0.2.2")
		w.cannotReach(w.lan, "192.0.2.1:8080")
	})
}
