package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// behindNAT makes a host in a network of its own, whose router has the
// address 192.0.2.N outside, hides the host behind it, and passes on to the
// host what comes to the UDP port. The configuration file has the agent's
// flags and the lines given. With port 0 nothing is passed on.
func (c *cluster) behindNAT(n int, port uint16, lines ...string) (h, router *nettest.Host) {
	c.Helper()
	router, h = nettest.NewHost(c.T, fmt.Sprintf("r%d", n)), nettest.NewHost(c.T, fmt.Sprintf("h%d", n))
	c.underlay.Join(router, "wan", fmt.Sprintf("192.0.2.%d/24", n))
	// All hosts have the same address: that is what people have at home.
	nettest.Link(router, "lan", []string{"10.0.0.1/24"}, h, "eth0", []string{"10.0.0.2/24"})
	router.Run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
	router.Run("nft", `table ip nat {
		chain pre { type nat hook prerouting priority dstnat; }
		chain post { type nat hook postrouting priority srcnat; oif wan masquerade; }
	}`)
	if port != 0 {
		router.Run("nft", fmt.Sprintf("add rule ip nat pre iif wan udp dport %d dnat to 10.0.0.2", port))
	}
	h.Run("ip", "route", "add", "default", "via", "10.0.0.1")
	c.startConfigured(h, append(lines, "bind = 10.0.0.2", fmt.Sprintf("advertise = 192.0.2.%d", n))...)
	return h, router
}

// startConfigured starts a host's agent by a configuration file.
func (c *cluster) startConfigured(h *nettest.Host, lines ...string) {
	c.Helper()
	lines = append(lines, "etcd = "+clusterEtcd, "name = "+h.Name, "ttl = 3s", "repair-every = 3s")
	h.Run("mkdir", "-p", "/etc/berth")
	if err := h.Do(func() error { return os.WriteFile("/etc/berth/agent.conf", []byte(strings.Join(lines, "\n")), 0o644) }); err != nil {
		c.Fatal(err)
	}
	c.hosts = append(c.hosts, h)
	c.startAgent(h, "--config", "/etc/berth/agent.conf")
}

func TestHostsBehindNATsReachEachOther(t *testing.T) {
	t.Parallel()
	c := newEtcd(t)
	a, _ := c.behindNAT(1, 4789)
	b, _ := c.behindNAT(2, 4789)
	c.awaitPeers(a, 1)
	c.awaitPeers(b, 1)
	one, two, _ := twoOnWide(c, "--subnet", "fd42::/64")
	expectReaches(t, one, two)
	c.awaitPath(a, "good")
	if out := a.Run("bridge", "fdb", "show", "dev", "vx-wide"); !strings.Contains(out, "dst 192.0.2.2") {
		t.Errorf("h1 does not send to what h2 advertises:\n%s", out)
	}
	if out := a.Run("ip", "-d", "link", "show", "vx-wide"); !strings.Contains(out, "local 10.0.0.2") {
		t.Errorf("h1's tunnel does not leave from what it binds:\n%s", out)
	}
}

// expectReaches: one gets an answer of two by HTTP at its every address.
func expectReaches(t *testing.T, one, two *nettest.Container) {
	t.Helper()
	n := 0
	for f := range strings.FieldsSeq(two.Run("ip", "-o", "address", "show", "dev", "eth0", "scope", "global")) {
		ip, _, err := net.ParseCIDR(f)
		if err != nil {
			continue
		}
		n++
		url := two.ServeHTTP(net.JoinHostPort(ip.String(), "80"))
		nettest.Eventually(t, one.Name+" to reach "+url, func() error { _, err := one.TryGet(url); return err })
	}
	if n != 2 {
		t.Errorf("%s has %d addresses", two.Name, n)
	}
}

// Each host's router passes on a port of its own choice, which the agent
// tells the others.
func TestTheTunnelsOfAnEncryptedNetworkCrossNATsAtAnyPort(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	c := newEtcd(t)
	a, ra := c.behindNAT(1, 443, "wireguard-port = 443")
	b, rb := c.behindNAT(2, 51999, "wireguard-port = 51999")
	c.awaitPeers(a, 1)
	c.awaitPeers(b, 1)
	sniffers := []*nettest.Sniffer{ra.Sniff("wan"), rb.Sniff("wan")}
	one, two, _ := twoOnWide(c, "-o", "encrypted", "--subnet", "fd42::/64")
	expectReaches(t, one, two)
	expectReaches(t, two, one)
	for _, s := range sniffers {
		ports := map[uint16]int{}
		for _, f := range s.Frames() {
			_, dst := f.Ports()
			ports[dst]++
			if _, _, ok := f.VXLAN(4789); ok {
				t.Errorf("VXLAN in clear text: %s", f)
			}
		}
		if ports[443] == 0 || ports[51999] == 0 || ports[51840] > 0 {
			t.Errorf("packets by their ports: %v; want some to 443 and 51999 and none to WireGuard's default", ports)
		}
	}
	status := a.Run(filepath.Join(binaries(t), "berth"), "agent", "status")
	for _, want := range []string{"UDP port 443,", "192.0.2.2:51999"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in the status:\n%s", want, status)
		}
	}
}

// A host behind a NAT that passes nothing on is reached because it sends
// first, and goes on to be while it keeps the NAT from forgetting it.
func TestAKeepaliveHoldsANATOpen(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	c := newEtcd(t)
	a := nettest.NewHost(t, "h1")
	c.underlay.Join(a, "eth0", "192.0.2.1/24")
	c.startConfigured(a)
	b, router := c.behindNAT(2, 0, "wireguard-keepalive = 1s")
	// A NAT with a short memory.
	router.Run("sysctl", "-q", "-w", "net.netfilter.nf_conntrack_udp_timeout=2", "net.netfilter.nf_conntrack_udp_timeout_stream=2")
	c.awaitPeers(a, 1)
	c.awaitPeers(b, 1)
	one, two, addr := twoOnWide(c, "-o", "encrypted", "--subnet", "fd42::/64")
	expectReaches(t, one, two)
	sniffer := router.Sniff("wan")
	nettest.Eventually(t, "five packets that keep the NAT open", func() error {
		n := 0
		for _, f := range sniffer.Frames() {
			src, dst, _, _ := f.IP()
			if _, port := f.Ports(); port == 51840 && src.String() == "192.0.2.2" && dst.String() == "192.0.2.1" {
				n++
			}
		}
		if n < 5 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	// No word was spoken meanwhile, and now h1 speaks first.
	one.Ping(addr)
}

// An agent that is restarted, or killed, greets the hosts it had sessions with
// where it heard them last: one behind a NAT that passes nothing on and chooses
// its ports itself is nowhere else to be found.
func TestARestartedAgentFindsTheHostBehindANAT(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	c := newEtcd(t)
	a := nettest.NewHost(t, "h1")
	c.underlay.Join(a, "eth0", "192.0.2.1/24")
	c.startConfigured(a, "wireguard = userspace")
	b, router := c.behindNAT(2, 0, "wireguard = userspace", "wireguard-keepalive = 1s")
	router.Run("nft", "insert rule ip nat post oif wan udp sport 51840 masquerade to :61000-61999")
	c.awaitPeers(a, 1)
	c.awaitPeers(b, 1)
	one, two, addr := twoOnWide(c, "-o", "encrypted", "--subnet", "fd42::/64")
	nettest.Eventually(t, "c2 to reach c1", func() error { return two.TryPing(addressOf(t, one)) })
	one.Ping(addr)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if signal == syscall.SIGKILL { // then it is as of the last repair
			nettest.Eventually(t, "the port of the NAT to be noted", func() error {
				_, err := a.Try("sh", "-c", "grep -q '192.0.2.2:61' /run/berth/*/wireguard-peers.json")
				return err
			})
		}
		if err := c.agents[a].Signal(signal); err != nil {
			t.Fatal(err)
		}
		<-c.agents[a].Done()
		sniffer := router.Sniff("wan")
		c.startAgent(a, "--config", "/etc/berth/agent.conf")
		c.awaitHandshake(a)
		if !slices.ContainsFunc(sniffer.Frames(), isInitiationBehindNAT) {
			t.Errorf("after signal %s h1 did not begin by itself where h2 was heard last:\n%v", signal, sniffer.Frames())
		}
		nettest.Eventually(t, "c1 to reach c2", func() error { return one.TryPing(addr) })
	}
}

func (c *cluster) awaitHandshake(h *nettest.Host) {
	c.Helper()
	nettest.Eventually(c.T, h.Name+" to have shaken hands", func() error {
		out, err := c.tryBerth(h, "agent", "status", "--format", "{{range .Mesh.Peers}}{{.Handshake.IsZero}}{{end}}")
		if err == nil && strings.TrimSpace(out) != "false" {
			err = errors.New(out)
		}
		return err
	})
}

// isInitiationBehindNAT: h1 begins a handshake (section 5.4.2 of WireGuard's
// paper) at a port that the NAT has chosen for h2.
func isInitiationBehindNAT(f nettest.Frame) bool {
	const headers, initiation = 14 + 20 + 8, 1
	src, dst, _, _ := f.IP()
	_, port := f.Ports()
	return src.String() == "192.0.2.1" && dst.String() == "192.0.2.2" && port/1000 == 61 && len(f) > headers && f[headers] == initiation
}

// addressOf is a container's first.
func addressOf(t *testing.T, c *nettest.Container) string {
	t.Helper()
	p, err := netip.ParsePrefix(strings.Fields(c.Run("ip", "-o", "-4", "address", "show", "dev", "eth0"))[3])
	if err != nil {
		t.Fatal(err)
	}
	return p.Addr().String()
}

func requireTUN(t *testing.T) {
	t.Helper()
	if has, err := condition("tun"); err != nil || !has {
		t.Skip("needs TUN devices (CONFIG_TUN)")
	}
}
