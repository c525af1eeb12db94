package plane

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const (
	macA, macB, macC = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
	addrA, addrB     = "10.42.0.10", "10.42.0.11"
	vtep1, vtep2     = "192.0.2.1", "192.0.2.2"
)

// newSegment is a network on a host without an agent.
func newSegment(t *testing.T) (*nettest.Host, *Segment) {
	t.Helper()
	t.Parallel()
	h := nettest.NewHost(t, "h")
	h.Run("ip", "link", "add", "sw", "type", "bridge", "mcast_snooping", "0")
	h.Run("ip", "link", "add", "vx", "type", "vxlan", "id", "7", "dstport", "4789", "nolearning", "local", "192.0.2.9")
	h.Run("ip", "link", "set", "vx", "master", "sw", "up")
	h.Run("ip", "link", "set", "sw", "up")
	dev, err := netdev.In(h.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	var herald *netdev.Herald
	if err := h.Do(func() (err error) { herald, err = netdev.NewHerald(); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { herald.Close() })
	s, err := Open(dev, herald, "sw", "vx")
	if err != nil {
		t.Fatal(err)
	}
	return h, s
}

// want is what is to be known of two containers elsewhere.
func want() cluster.Forwarding {
	return cluster.Forwarding{
		Ways:       map[string]netip.Addr{macA: netip.MustParseAddr(vtep1), macB: netip.MustParseAddr(vtep2)},
		Neighbours: map[netip.Addr]string{netip.MustParseAddr(addrA): macA, netip.MustParseAddr(addrB): macB},
	}
}

// wanted is what kernel shows then.
func wanted() []string {
	return []string{
		macA + " at " + vtep1, macA + " by vx", macB + " at " + vtep2, macB + " by vx",
		addrA + " is " + macA, addrB + " is " + macB,
	}
}

// kernel is what the host has of it, as ip and bridge show it.
func kernel(h *nettest.Host) (lines []string) {
	for line := range strings.Lines(h.Run("bridge", "fdb", "show", "dev", "vx")) {
		f := strings.Fields(line)
		switch {
		case !strings.HasPrefix(f[0], "02:00:00:00"):
		case f[1] == "dst":
			lines = append(lines, f[0]+" at "+f[2])
		case f[1] == "master":
			lines = append(lines, f[0]+" by vx")
		}
	}
	for line := range strings.Lines(h.Run("ip", "neighbour", "show", "dev", "sw", "nud", "permanent")) {
		if f := strings.Fields(line); strings.HasPrefix(f[0], "10.") {
			lines = append(lines, f[0]+" is "+f[2])
		}
	}
	slices.Sort(lines)
	return lines
}

func expect(t *testing.T, h *nettest.Host, what string, lines []string) {
	t.Helper()
	slices.Sort(lines)
	if have := kernel(h); !slices.Equal(have, lines) {
		t.Errorf("%s: the kernel has\n%s\nwant\n%s", what, strings.Join(have, "\n"), strings.Join(lines, "\n"))
	}
}

// Whatever the kernel has, a repair makes it what it should be, and says
// whether something was wrong.
func TestRepairOfAnyDamage(t *testing.T) {
	h, s := newSegment(t)
	if n, err := s.Repair(want(), false); n != 4 || err != nil {
		t.Errorf("of nothing: %d, %v", n, err)
	}
	expect(t, h, "at first", wanted())
	h.Run("ip", "nexthop", "add", "id", "1", "via", vtep2, "fdb")
	h.Run("ip", "nexthop", "add", "id", "10", "group", "1", "fdb")
	for _, damage := range []string{
		"bridge fdb delete " + macA + " dev vx self",
		"bridge fdb delete " + macA + " dev vx master",
		"bridge fdb replace " + macA + " dev vx self dst " + vtep2,
		"bridge fdb add " + macA + " dev vx self nhid 10",
		"bridge fdb add " + macC + " dev vx self dst " + vtep1,
		"bridge fdb add " + macC + " dev vx master static",
		"ip neighbour delete " + addrA + " dev sw",
		"ip neighbour replace " + addrA + " lladdr " + macB + " dev sw nud permanent",
		"ip neighbour add 10.42.0.99 lladdr " + macC + " dev sw nud permanent",
	} {
		if strings.HasSuffix(damage, " nhid 10") { // where there is another entry it is refused
			h.Run("bridge", "fdb", "delete", macA, "dev", "vx", "self")
		}
		words := strings.Fields(damage)
		h.Run(words[0], words[1:]...)
		if slices.Equal(kernel(h), wanted()) {
			t.Errorf("%s: no damage", damage)
		}
		if n, err := s.Repair(want(), false); n != 1 || err != nil {
			t.Errorf("%s: %d repaired, %v", damage, n, err)
		}
		expect(t, h, damage, wanted())
	}
	if n, err := s.Repair(want(), false); n != 0 || err != nil {
		t.Errorf("of what is right: %d, %v", n, err)
	}
}

// While etcd is told anew a repair adds and corrects, and removes nothing.
func TestRepairOfMore(t *testing.T) {
	h, s := newSegment(t)
	if _, err := s.Repair(want(), false); err != nil {
		t.Fatal(err)
	}
	less := want()
	delete(less.Ways, macA)
	delete(less.Neighbours, netip.MustParseAddr(addrA))
	less.Ways[macB] = netip.MustParseAddr(vtep1)
	if _, err := s.Repair(less, true); err != nil {
		t.Fatal(err)
	}
	moved := wanted()
	moved[slices.Index(moved, macB+" at "+vtep2)] = macB + " at " + vtep1
	expect(t, h, "with more", moved)
	if _, err := s.Repair(less, false); err != nil {
		t.Fatal(err)
	}
	expect(t, h, "without", []string{addrB + " is " + macB, macB + " at " + vtep1, macB + " by vx"})
}

// A change replaces entries and leaves nothing of what is gone. The containers
// here hear who has an address now, and nothing where none has.
func TestSet(t *testing.T) {
	h, s := newSegment(t)
	heard := listen(t, h)
	a := netip.MustParseAddr(addrA)
	for _, step := range []struct {
		what  string
		way   Way
		who   Neighbour
		lines []string
	}{
		{"comes", Way{macA, netip.MustParseAddr(vtep1), true}, Neighbour{a, macA, true}, []string{addrA + " is " + macA, macA + " at " + vtep1, macA + " by vx"}},
		{"moves", Way{macA, netip.MustParseAddr(vtep2), true}, Neighbour{a, macA, true}, []string{addrA + " is " + macA, macA + " at " + vtep2, macA + " by vx"}},
		{"is another", Way{macB, netip.MustParseAddr(vtep1), true}, Neighbour{a, macB, true}, []string{addrA + " is " + macB, macA + " at " + vtep2, macA + " by vx", macB + " at " + vtep1, macB + " by vx"}},
		{"the first goes", Way{MAC: macA}, Neighbour{a, macB, true}, []string{addrA + " is " + macB, macB + " at " + vtep1, macB + " by vx"}},
		{"goes", Way{MAC: macB}, Neighbour{Addr: a}, nil},
		{"is gone already", Way{MAC: macB}, Neighbour{Addr: a}, nil},
	} {
		if err := s.Set([]Way{step.way}, []Neighbour{step.who}); err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
		expect(t, h, step.what, step.lines)
	}
	if told := tellings(t, h, heard, addrA); !slices.Equal(told, []string{macA, macB}) {
		t.Errorf("the containers were told that %s is %q; want each MAC once", addrA, told)
	}
}

// A repair tells the containers of an address that they may know by another
// MAC, and of no other.
func TestARepairTellsOfWhatHasMoved(t *testing.T) {
	h, s := newSegment(t)
	heard := listen(t, h) // a new port may change the bridge's MAC, and that forgets all neighbours
	h.Run("ip", "neighbour", "add", addrA, "lladdr", macC, "dev", "sw", "nud", "permanent")
	if _, err := s.Repair(want(), false); err != nil {
		t.Fatal(err)
	}
	if a, b := tellings(t, h, heard, addrA), tellings(t, h, heard, addrB); !slices.Equal(a, []string{macA}) || len(b) > 0 {
		t.Errorf("the containers were told of %s by %q, and of %s by %q", addrA, a, addrB, b)
	}
}

// listen is what a container on the bridge hears.
func listen(t *testing.T, h *nettest.Host) *nettest.Sniffer {
	h.Run("ip", "link", "add", "port", "type", "veth", "peer", "name", "container")
	h.Run("ip", "link", "set", "port", "master", "sw", "up")
	h.Run("ip", "link", "set", "container", "up")
	heard := h.Sniff("container")
	await(t, h, heard, "ready") // devices that have just been made drop frames
	return heard
}

// await sends a frame by the bridge until it is heard. All that was sent before
// has been by then.
func await(t *testing.T, h *nettest.Host, heard *nettest.Sniffer, word string) {
	t.Helper()
	frame := append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb6"), word...)
	nettest.Eventually(t, "the bridge to carry frames", func() error {
		h.Inject("sw", frame)
		if !slices.ContainsFunc(heard.Frames(), func(f nettest.Frame) bool { return bytes.Equal(f, frame) }) {
			return errors.New("nothing is heard")
		}
		return nil
	})
}

// tellings are the MACs by which frames say that an address is there.
func tellings(t *testing.T, h *nettest.Host, heard *nettest.Sniffer, addr string) (macs []string) {
	t.Helper()
	await(t, h, heard, addr)
	for _, f := range heard.Frames() {
		if b := f.Payload(); f.EtherType() == 0x0806 && len(b) >= 28 && netip.AddrFrom4([4]byte(b[14:18])).String() == addr {
			macs = append(macs, net.HardwareAddr(b[8:14]).String())
		}
	}
	return macs
}

// What the kernel tells of a device is damage where it is the segment's and
// not as it was.
func TestDamage(t *testing.T) {
	_, s := newSegment(t)
	if _, err := s.Repair(want(), false); err != nil {
		t.Fatal(err)
	}
	vxlan := netdev.Device{Index: s.VXLAN(), Up: true, Master: s.Bridge(), MAC: s.vxlan.Attrs().HardwareAddr}
	bridge := netdev.Device{Index: s.Bridge(), Up: true, MAC: s.bridge.Attrs().HardwareAddr}
	other := func(d netdev.Device, change func(*netdev.Device)) netdev.Device { change(&d); return d }
	for name, test := range map[string]struct {
		device netdev.Device
		want   bool
	}{
		"the VXLAN device":    {vxlan, false},
		"the bridge":          {bridge, false},
		"down":                {other(vxlan, func(d *netdev.Device) { d.Up = false }), true},
		"without its bridge":  {other(vxlan, func(d *netdev.Device) { d.Master = 0 }), true},
		"another MAC":         {other(vxlan, func(d *netdev.Device) { d.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1} }), true},
		"the bridge down":     {other(bridge, func(d *netdev.Device) { d.Up = false }), true},
		"the bridge's MAC":    {other(bridge, func(d *netdev.Device) { d.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1} }), true},
		"somebody else's":     {other(vxlan, func(d *netdev.Device) { d.Index, d.Up = 99, false }), false},
		"a bridge on another": {other(bridge, func(d *netdev.Device) { d.Master = 99 }), true},
	} {
		if is := s.Damaged(&test.device); is != test.want {
			t.Errorf("%s: %v", name, is)
		}
	}
	none := netip.Addr{}
	for name, is := range map[string]bool{
		"a way":              s.Has(s.VXLAN(), macA, none),
		"a neighbour":        s.Has(s.Bridge(), "", netip.MustParseAddr(addrA)),
		"not another way":    !s.Has(s.VXLAN(), macC, none),
		"not another device": !s.Has(99, macA, netip.MustParseAddr(addrA)),
		"owns both devices":  s.Owns(s.Bridge()) && s.Owns(s.VXLAN()) && !s.Owns(99),
	} {
		if !is {
			t.Error(name)
		}
	}
	if err := s.Set([]Way{{MAC: "no MAC", Known: true}}, nil); err == nil {
		t.Errorf("a MAC that is none: %v", err)
	}
}
