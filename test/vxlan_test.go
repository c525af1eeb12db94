package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
)

// twoOnWide is a cluster of two hosts with a container each on one network.
func twoOnWide(c *cluster, options ...string) (one, two *nettest.Container, addrOfTwo string) {
	c.Helper()
	c.berth(c.hosts[0], append(append([]string{"network", "create", "-d", "overlay", "--subnet", "10.42.0.0/24"}, options...), "wide")...)
	nettest.Eventually(c.T, "the network on "+c.hosts[1].Name, func() error {
		_, err := c.tryBerth(c.hosts[1], "network", "inspect", "wide")
		return err
	})
	one, _ = c.connect(c.hosts[0], "wide", "one")
	two, addrs := c.connect(c.hosts[1], "wide", "two")
	return one, two, addrs[0]
}

func (c *cluster) awaitWarning(h *nettest.Host, want string) {
	c.Helper()
	nettest.Eventually(c.T, h.Name+"'s warning: "+want, func() error {
		if out := c.berth(h, "agent", "status"); !strings.Contains(out, "WARNING: ") || !strings.Contains(out, want) {
			return errors.New(out)
		}
		return nil
	})
}

func TestStatusShowsAWayThatIsBlocked(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	twoOnWide(c)
	a, b := c.hosts[0], c.hosts[1]
	c.awaitPath(a, "good")
	b.Run("nft", "table inet admin { chain in { type filter hook input priority 0; udp dport 4789 drop; }; }")
	c.awaitPath(a, "no answer")
	c.awaitWarning(a, "h2 does not answer through VXLAN at 192.0.2.2")
	b.Run("nft", "delete table inet admin")
	c.awaitPath(a, "good")
	b.Run("ip", "link", "set", "eth0", "mtu", "1400")
	c.awaitWarning(a, "1500 here and 1400 at h2: create networks with -o mtu=1350")
}

func TestPortAndVNIAreTheNetworksOwn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	one, two, addr := twoOnWide(c, "-o", "port=8472", "-o", "vni=77")
	url := two.ServeHTTP(addr + ":80")
	nettest.Eventually(t, "one to reach "+url, func() error { _, err := one.TryGet(url); return err })
	if out := c.hosts[0].Run("ip", "-d", "link", "show", "vx-wide"); !strings.Contains(out, "vxlan id 77 ") || !strings.Contains(out, "dstport 8472") {
		t.Errorf("the device has another port or VNI:\n%s", out)
	}
	c.awaitPath(c.hosts[0], "good")
	out, err := c.tryBerth(c.hosts[1], "network", "create", "-d", "overlay", "-o", "vni=77", "--subnet", "10.43.0.0/24", "other")
	if err == nil || !strings.Contains(out, "VNI 77") || !strings.Contains(out, "wide") {
		t.Errorf("a second network with VNI 77: %v: %s", err, out)
	}
	out, err = c.tryBerth(c.hosts[1], "network", "create", "-d", "overlay", "-o", "vni=16777215", "--subnet", "10.43.0.0/24", "other")
	if err == nil || !strings.Contains(out, "choose another") {
		t.Errorf("a network with the VNI of the probes: %v: %s", err, out)
	}
	c.hosts[0].Run("ip", "link", "add", "flannel.1", "type", "vxlan", "id", "78", "dstport", "4789", "local", "192.0.2.1")
	c.berth(c.hosts[0], "network", "create", "-d", "overlay", "-o", "vni=78", "--subnet", "10.43.0.0/24", "other")
	out, err = c.tryBerth(c.hosts[0], "network", "connect", "other", "netns:"+one.Path)
	if err == nil || !strings.Contains(out, "flannel.1") {
		t.Errorf("a network beside flannel.1: %v: %s", err, out)
	}
}

// poorCard is a host between two others that does to their frames what a
// network card does that says it fills in checksums but knows no VXLAN: it
// fills in the outer one, and none inside. The kernel's frames pass it through
// a packet socket, where a checksum that was left to the card is not there.
func poorCard(t *testing.T, a *nettest.Host, aAddr string, b *nettest.Host, bAddr string) {
	t.Helper()
	card := nettest.NewHost(t, "card")
	nettest.Link(a, "under", []string{aAddr}, card, "left", nil)
	nettest.Link(b, "under", []string{bAddr}, card, "right", nil)
	err := card.Do(func() error {
		left, err := rawSocket("left")
		if err != nil {
			return err
		}
		t.Cleanup(func() { left.Close() })
		right, err := rawSocket("right")
		if err != nil {
			return err
		}
		t.Cleanup(func() { right.Close() })
		go relay(left, right)
		go relay(right, left)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func rawSocket(device string) (*os.File, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: link.Index}), // ETH_P_ALL
	)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), device), nil
}

func relay(from, to *os.File) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		frame := buf[:n]
		// An outer IPv4 header without options, UDP: no checksum is a valid
		// one there (RFC 768).
		if n > 42 && frame[12] == 8 && frame[13] == 0 && frame[14] == 0x45 && frame[23] == unix.IPPROTO_UDP {
			frame[40], frame[41] = 0, 0
		}
		_, _ = to.Write(frame) // longer than the device takes: lost, as on a wire
	}
}

func TestABrokenChecksumOffloadIsTurnedOff(t *testing.T) {
	t.Parallel()
	requireTools(t, "ethtool")
	c := newEtcd(t)
	for i := 1; i <= 2; i++ {
		h := nettest.NewHost(t, fmt.Sprintf("h%d", i))
		c.underlay.Join(h, "eth0", fmt.Sprintf("192.0.2.%d/24", i))
		c.hosts = append(c.hosts, h)
	}
	poorCard(t, c.hosts[0], "198.51.100.1/24", c.hosts[1], "198.51.100.2/24")
	for i, h := range c.hosts {
		c.startAgent(h, "--etcd", clusterEtcd, "--name", h.Name, "--ttl", "3s", "--repair-every", "3s", "--bind", fmt.Sprintf("198.51.100.%d", i+1))
	}
	c.awaitPeers(c.hosts[0], 1)
	c.awaitPeers(c.hosts[1], 1)
	// A network that insists on the card shows that it is broken.
	c.berth(c.hosts[0], "network", "create", "-d", "overlay", "-o", "checksum-offload=on", "--subnet", "10.43.0.0/24", "stubborn")
	one, two, addr := twoOnWide(c)
	target := netip.AddrPortFrom(netip.MustParseAddr(addr), 80).String()
	two.Serve("tcp", target)
	two.Serve("udp", target)
	for _, h := range c.hosts {
		nettest.Eventually(t, "offload on "+h.Name+" to be off", func() error {
			if out := h.Run("ethtool", "-k", "vx-wide"); !strings.Contains(out, "tx-checksumming: off\n") {
				return errors.New(out)
			}
			return nil
		})
		c.awaitPath(h, "checksums are broken")
	}
	c.awaitWarning(c.hosts[0], "broken when they arrive at h2")
	for _, proto := range []string{"tcp", "udp"} {
		nettest.Eventually(t, "one to reach two by "+proto, func() error { _, err := one.TryAsk(proto, target); return err })
	}
	broken := ""
	for i, container := range []*nettest.Container{one, two} {
		line := strings.Fields(c.berth(c.hosts[i], "network", "connect", "stubborn", "netns:"+container.Path))
		broken, _, _ = strings.Cut(line[1], "/")
	}
	if out := c.hosts[0].Run("ethtool", "-k", "vx-stubborn"); !strings.Contains(out, "tx-checksumming: on\n") {
		t.Errorf("the offload of a network that asks for it:\n%s", out)
	}
	two.Serve("udp", broken+":80")
	one.Ping(broken)
	if answer, err := one.TryAsk("udp", broken+":80"); err == nil {
		t.Errorf("the card is not poor: %v got through with offload on", answer)
	}
}
