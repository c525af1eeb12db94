package netdev_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

func handle(t *testing.T, h *nettest.Host) *netdev.Handle {
	t.Helper()
	dev, err := netdev.In(h.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}

func apply(t *testing.T, dev *netdev.Handle, collect func(*netdev.Entries)) {
	t.Helper()
	var e netdev.Entries
	collect(&e)
	if err := dev.Apply(&e); err != nil {
		t.Fatal(err)
	}
}

func vxlanSpec(name string) netdev.VXLAN {
	return netdev.VXLAN{
		Name: name, VNI: 42, Port: 4789, Local: netip.MustParseAddr("192.0.2.1"), MTU: 1450,
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Alias: "berth:test",
	}
}

func TestVXLANClashNamesTheOtherDevice(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	dev := handle(t, h)
	h.Run("ip", "link", "add", "flannel.1", "type", "vxlan", "id", "42", "dstport", "4789", "local", "192.0.2.1")
	_, err := dev.AddVXLAN(vxlanSpec("vx0"))
	if !errors.Is(err, netdev.ErrVXLANInUse) || !strings.Contains(err.Error(), "flannel.1") {
		t.Fatalf("AddVXLAN beside flannel.1: %v", err)
	}
}

func TestVXLANBesideAnExternalDeviceNamesIt(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	dev := handle(t, h)
	h.Run("ip", "link", "add", "cilium_vxlan", "type", "vxlan", "external", "dstport", "4789")
	h.Run("ip", "link", "set", "cilium_vxlan", "up")
	link, err := dev.AddVXLAN(vxlanSpec("vx0"))
	if err == nil {
		err = dev.SetVXLANUp(link, 4789)
	}
	if !errors.Is(err, netdev.ErrVXLANInUse) || !strings.Contains(err.Error(), "cilium_vxlan") {
		t.Fatalf("VXLAN beside cilium_vxlan: %v", err)
	}
}

func TestFDBEntriesAreReplacedNeverRefused(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	dev := handle(t, h)
	vx, err := dev.AddVXLAN(vxlanSpec("vx0"))
	if err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	old, moved := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	for _, remote := range []netip.Addr{old, old, moved} {
		apply(t, dev, func(e *netdev.Entries) { e.SetFDB(vx, mac, remote) })
		apply(t, dev, func(e *netdev.Entries) { e.AddFDB(vx, netdev.AnyMAC, remote) })
	}
	entries, _, err := dev.FDB(vx)
	if err != nil {
		t.Fatal(err)
	}
	want := []netdev.FDBEntry{{MAC: "00:00:00:00:00:00", Remote: old}, {MAC: "00:00:00:00:00:00", Remote: moved}, {MAC: mac.String(), Remote: moved}}
	slices.SortFunc(entries, func(a, b netdev.FDBEntry) int {
		return strings.Compare(a.MAC+a.Remote.String(), b.MAC+b.Remote.String())
	})
	if !slices.Equal(entries, want) {
		t.Errorf("FDB is %v, want %v", entries, want)
	}
	for range 2 {
		apply(t, dev, func(e *netdev.Entries) { e.RemoveFDB(vx, mac, moved); e.RemoveFDB(vx, netdev.AnyMAC, old) })
	}
	left := []netdev.FDBEntry{{MAC: "00:00:00:00:00:00", Remote: moved}}
	if entries, _, err := dev.FDB(vx); err != nil || !slices.Equal(entries, left) {
		t.Errorf("after the removal the FDB is %v (%v), want %v", entries, err, left)
	}
}

func TestBridgeEntriesNeighboursAndPortFlags(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	dev := handle(t, h)
	vx, err := dev.AddVXLAN(vxlanSpec("vx0"))
	if err != nil {
		t.Fatal(err)
	}
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	h.Run("ip", "link", "set", "vx0", "master", "br0")
	br, err := dev.Link("br0")
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.SetBridgePort(vx, netdev.BridgePort{NeighSuppress: true}); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"learning off", " flood off", "mcast_flood off", "bcast_flood off", "neigh_suppress on"} {
		if out := h.Run("bridge", "-d", "link", "show", "dev", "vx0"); !strings.Contains(out, flag) {
			t.Errorf("no %q in %s", flag, out)
		}
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	v4, v6 := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")
	for range 2 {
		apply(t, dev, func(e *netdev.Entries) {
			e.BridgeFDB(true, vx, mac)
			e.Neighbour(true, br, v4, mac)
			e.Neighbour(true, br, v6, mac)
		})
	}
	h.Run("ip", "link", "add", "other", "type", "bridge")
	h.Run("ip", "neighbour", "add", "10.0.0.8", "lladdr", "02:00:00:00:00:08", "dev", "other", "nud", "permanent")
	if _, macs, err := dev.FDB(vx); err != nil || !slices.Equal(macs, []string{mac.String()}) {
		t.Errorf("bridge FDB is %v, %v", macs, err)
	}
	if n, err := dev.Neighbours(br); err != nil || !slices.Equal(n, []netdev.Neighbour{{v4, mac.String()}, {v6, mac.String()}}) {
		t.Errorf("neighbours are %v, %v", n, err)
	}
	for range 2 {
		apply(t, dev, func(e *netdev.Entries) {
			e.BridgeFDB(false, vx, mac)
			e.Neighbour(false, br, v4, nil)
			e.Neighbour(false, br, v6, nil)
		})
	}
	if _, macs, err := dev.FDB(vx); err != nil || len(macs) > 0 {
		t.Errorf("after the removal the bridge FDB is %v, %v", macs, err)
	}
	if n, err := dev.Neighbours(br); err != nil || len(n) > 0 {
		t.Errorf("after the removal the neighbours are %v, %v", n, err)
	}
}

// An entry that does not name the underlay device would be sent as routed.
func TestFDBEntriesLeaveByTheUnderlayDevice(t *testing.T) {
	t.Parallel()
	h, peer := nettest.NewHost(t, "h"), nettest.NewHost(t, "peer")
	nettest.Link(h, "tunnel", []string{"fe80::1/64"}, peer, "tunnel", nil)
	dev := handle(t, h)
	tunnel, err := dev.Link("tunnel")
	if err != nil {
		t.Fatal(err)
	}
	spec := vxlanSpec("vx0")
	spec.Local, spec.Underlay = netip.MustParseAddr("fe80::1"), tunnel.Attrs().Index
	vx, err := dev.AddVXLAN(spec)
	if err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	remote := netip.MustParseAddr("fe80::2")
	apply(t, dev, func(e *netdev.Entries) { e.SetFDB(vx, mac, remote) })
	const want = "02:00:00:00:00:09 dst fe80::2 via tunnel"
	if out := h.Run("bridge", "fdb", "show", "dev", "vx0"); !strings.Contains(out, want) {
		t.Errorf("the FDB lacks %q:\n%s", want, out)
	}
	apply(t, dev, func(e *netdev.Entries) { e.RemoveFDB(vx, mac, remote) })
	if out := h.Run("bridge", "fdb", "show", "dev", "vx0"); strings.Contains(out, "fe80::2") {
		t.Errorf("the entry is left:\n%s", out)
	}
}
