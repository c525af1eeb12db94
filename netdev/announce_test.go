package netdev_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

// announced is a device of one host, and a neighbour on the same segment.
func announced(t *testing.T) (h *netdev.Handle, link netdev.Link, a, neighbour *nettest.Host) {
	t.Helper()
	a, neighbour = nettest.NewHost(t, "a"), nettest.NewHost(t, "neighbour")
	nettest.Link(a, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"}, neighbour, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"})
	// Until its carrier is noticed a device has no route for multicast.
	for _, host := range []*nettest.Host{a, neighbour} {
		eventually(t, func() (string, bool) {
			out := host.Run("ip", "link", "show", "eth0")
			return out, strings.Contains(out, "state UP")
		})
	}
	h, err := netdev.In(a.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if link, err = h.Link("eth0"); err != nil {
		t.Fatal(err)
	}
	return h, link, a, neighbour
}

func TestAnnounceCorrectsNeighboursThatKnowAnotherMAC(t *testing.T) {
	t.Parallel()
	h, link, _, neighbour := announced(t)
	for _, addr := range []string{"192.0.2.2", "2001:db8::2"} {
		neighbour.Run("ip", "neighbour", "replace", addr, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale")
	}
	addrs := []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("2001:db8::2/64")}
	if err := h.Announce(link, addrs); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"192.0.2.2", "2001:db8::2"} {
		eventually(t, func() (string, bool) {
			out := neighbour.Run("ip", "neighbour", "show", addr)
			return out, strings.Contains(out, link.Attrs().HardwareAddr.String())
		})
	}
}

func TestAnnounceSendsEachThreeTimes(t *testing.T) {
	t.Parallel()
	h, link, _, neighbour := announced(t)
	heard := hears(t, neighbour, link.Attrs().HardwareAddr, "192.0.2.7", "2001:db8::7")
	addrs := []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("2001:db8::7/64")}
	if err := h.Announce(link, addrs); err != nil {
		t.Fatal(err)
	}
	heard(netdev.Announcements)
}

func TestTheKernelAnnouncesThreeTimesWithoutAPacketSocket(t *testing.T) {
	t.Parallel()
	_, link, a, neighbour := announced(t)
	heard := hears(t, neighbour, link.Attrs().HardwareAddr, "192.0.2.2", "2001:db8::2")
	if err := a.Do(func() error { return netdev.WriteSysctl("ipv6/conf/eth0/ndisc_notify", "1") }); err != nil {
		t.Fatal(err)
	}
	b := new(netdev.Batch)
	b.ChangeLink("eth0", netdev.LinkChange{Notify: true})
	b.Announce("eth0", link.Attrs().HardwareAddr, netdev.Announcements)
	do(t, a, b)
	heard(netdev.Announcements)
}

// hears counts the announcements of two addresses that reach a neighbour.
func hears(t *testing.T, neighbour *nettest.Host, mac net.HardwareAddr, ip4, ip6 string) (heard func(times int)) {
	t.Helper()
	sniff := sniffer(t, neighbour, "eth0")
	garp := append(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	una := append(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac...)
	target4, target6 := netip.MustParseAddr(ip4).AsSlice(), netip.MustParseAddr(ip6).AsSlice()
	return func(times int) {
		t.Helper()
		arp, na := 0, 0
		for arp < times || na < times {
			frame, err := sniff()
			if err != nil {
				t.Fatalf("%d gratuitous ARP and %d unsolicited NA arrived, want %d of each: %v", arp, na, times, err)
			}
			switch {
			case bytes.HasPrefix(frame, garp) && bytes.Equal(frame[38:42], target4):
				arp++
			case bytes.HasPrefix(frame, una) && frame[54] == 136 && bytes.Equal(frame[62:78], target6):
				na++
			}
		}
	}
}

func do(t *testing.T, h *nettest.Host, b *netdev.Batch) {
	t.Helper()
	c, err := netdev.DialIn(h.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Do(b); err != nil {
		t.Fatal(err)
	}
}

func TestResolveTellsTheNeighbourOurMAC(t *testing.T) {
	t.Parallel()
	_, link, a, neighbour := announced(t)
	neighbour.Run("ip", "neighbour", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale")
	for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
		b := new(netdev.Batch)
		b.Resolve(link.Attrs().Index, netip.MustParseAddr(addr))
		do(t, a, b)
		eventually(t, func() (string, bool) {
			out := a.Run("ip", "neighbour", "show", addr)
			return out, strings.Contains(out, "REACHABLE")
		})
	}
	eventually(t, func() (string, bool) {
		out := neighbour.Run("ip", "neighbour", "show", "192.0.2.2")
		return out, strings.Contains(out, link.Attrs().HardwareAddr.String())
	})
}

func TestConfirmTellsTheOneNeighbourAndNobodyElse(t *testing.T) {
	t.Parallel()
	_, link, a, neighbour := announced(t)
	heard := neighbour.Sniff("eth0")
	router, err := net.ParseMAC(strings.Fields(neighbour.Run("cat", "/sys/class/net/eth0/address"))[0])
	if err != nil {
		t.Fatal(err)
	}
	b := new(netdev.Batch)
	b.Confirm(link.Attrs().Index, netip.MustParseAddr("192.0.2.1"), router)
	do(t, a, b)
	eventually(t, func() (string, bool) {
		out := neighbour.Run("ip", "neighbour", "show", "192.0.2.2")
		return out, strings.Contains(out, link.Attrs().HardwareAddr.String())
	})
	eventually(t, func() (string, bool) {
		out := a.Run("ip", "neighbour", "show", "192.0.2.1")
		return out, strings.Contains(out, "REACHABLE")
	})
	for _, f := range heard.Frames() {
		if f.EtherType() == unix.ETH_P_ARP && f[0]&1 != 0 {
			t.Errorf("it was broadcast: %s", f)
		}
	}
}

func TestAProcfsOfOnesOwnIsTheNamespacesToo(t *testing.T) {
	t.Parallel()
	a, b := nettest.NewHost(t, "a"), nettest.NewHost(t, "b")
	proc := netdev.OpenProc()
	defer proc.Close()
	const key = "ipv4/conf/default/arp_notify"
	if err := a.Do(func() error { return proc.WriteSysctl(key, "1") }); err != nil {
		t.Fatal(err)
	}
	for h, want := range map[*nettest.Host]string{a: "1", b: "0"} {
		err := h.Do(func() error {
			mine, err := proc.ReadSysctl(key)
			theirs, err2 := netdev.ReadSysctl(key)
			if mine != want || theirs != want {
				t.Errorf("%s: %q, and %q through /proc, want %q", h.Name, mine, theirs, want)
			}
			return errors.Join(err, err2)
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// eventually waits for what the kernel does on another CPU's time.
func eventually(t *testing.T, done func() (state string, ok bool)) {
	t.Helper()
	nettest.Eventually(t, "kernel", func() error {
		if state, ok := done(); !ok {
			return errors.New(state)
		}
		return nil
	})
}

// sniffer receives the frames that reach a device of h from now on.
func sniffer(t *testing.T, h *nettest.Host, name string) (next func() ([]byte, error)) {
	t.Helper()
	fd := -1
	err := h.NetNS().Do(func() (err error) {
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		iface, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		wait := unix.Timeval{Sec: 3}
		return errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func() ([]byte, error) {
		buf := make([]byte, 2048)
		n, _, err := unix.Recvfrom(fd, buf, 0)
		return buf[:max(n, 0)], err
	}
}
