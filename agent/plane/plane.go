// Package plane keeps the forwarding of a host's overlay networks as the
// cluster says: for each container elsewhere the VTEP behind which its MAC is
// (in the VXLAN device), the port that leads there (in the bridge), and the
// MAC of each of its addresses (on the bridge, from where the kernel answers
// ARP and ND for it). So nothing is ever asked or flooded between hosts.
//
// Entries are replaced, never created exclusively, and a MAC or address that
// two endpoints claim is one entry.
package plane

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/netdev"
)

// Segment is a network's devices on this host and what they have been told.
type Segment struct {
	dev    *netdev.Handle
	bridge netdev.Link
	vxlan  netdev.Link
	herald *netdev.Herald
	told   cluster.Forwarding
}

// Open finds a network's devices. Repair must follow.
func Open(dev *netdev.Handle, herald *netdev.Herald, bridge, vxlan string) (*Segment, error) {
	s := &Segment{dev: dev, herald: herald, told: cluster.Forwarding{Ways: map[string]netip.Addr{}, Neighbours: map[netip.Addr]string{}}}
	var err error
	if s.bridge, err = dev.Link(bridge); err != nil {
		return nil, err
	}
	s.vxlan, err = dev.Link(vxlan)
	return s, err
}

// Has tells whether an entry that the kernel says it lost is one of ours.
func (s *Segment) Has(index int, mac string, a netip.Addr) bool {
	switch index {
	case s.vxlan.Attrs().Index:
		_, ok := s.told.Ways[mac]
		return ok
	case s.bridge.Attrs().Index:
		_, ok := s.told.Neighbours[a]
		return ok
	}
	return false
}

// Bridge and VXLAN are the indices of the segment's devices.
func (s *Segment) Bridge() int { return s.bridge.Attrs().Index }
func (s *Segment) VXLAN() int  { return s.vxlan.Attrs().Index }

// Owns tells whether a device is the segment's.
func (s *Segment) Owns(index int) bool { return index == s.Bridge() || index == s.VXLAN() }

// Cut takes the host off the network: nothing leaves or comes in by the VXLAN
// device.
func (s *Segment) Cut() error { return s.dev.SetDown(s.vxlan) }

// SetWay tells the kernel where a MAC is; without ok, that it is nowhere else.
func (s *Segment) SetWay(mac string, vtep netip.Addr, ok bool) error {
	old, had := s.told.Ways[mac]
	if had == ok && old == vtep {
		return nil
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return fmt.Errorf("program MAC %q: %w", mac, err)
	}
	if !ok {
		delete(s.told.Ways, mac)
		return errors.Join(s.dev.DeleteFDB(s.vxlan, hw, old), s.dev.DeleteBridgeFDB(s.vxlan, hw))
	}
	s.told.Ways[mac] = vtep
	return errors.Join(s.dev.ReplaceFDB(s.vxlan, hw, vtep), s.dev.ReplaceBridgeFDB(s.vxlan, hw))
}

// SetNeighbour tells the kernel the MAC of an address; without ok, that nobody
// elsewhere has it. The containers here are told of it too: one of them may be
// asking just now, and would ask again only a second later (retrans_time_ms),
// or it may know the address by the MAC of who had it before, whose successor
// it cannot hear because nothing is flooded between hosts.
func (s *Segment) SetNeighbour(a netip.Addr, mac string, ok bool) error {
	old, had := s.told.Neighbours[a]
	if had == ok && old == mac {
		return nil
	}
	if !ok {
		delete(s.told.Neighbours, a)
		return s.dev.DeleteNeighbour(s.bridge, a)
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return fmt.Errorf("program MAC %q: %w", mac, err)
	}
	s.told.Neighbours[a] = mac
	if err := s.dev.ReplaceNeighbour(s.bridge, a, hw); err != nil {
		return err
	}
	return s.herald.Announce(s.Bridge(), a, hw)
}

// Repair makes the kernel's entries equal to want, whatever they were, and
// tells how many differed.
func (s *Segment) Repair(want cluster.Forwarding) (int, error) {
	if err := s.read(); err != nil {
		return 0, err
	}
	n, errs := 0, []error(nil)
	for mac := range union(s.told.Ways, want.Ways) {
		vtep, ok := want.Ways[mac]
		if old, had := s.told.Ways[mac]; had != ok || old != vtep {
			n++
		}
		errs = append(errs, s.SetWay(mac, vtep, ok))
	}
	for a := range union(s.told.Neighbours, want.Neighbours) {
		mac, ok := want.Neighbours[a]
		if old, had := s.told.Neighbours[a]; had != ok || old != mac {
			n++
		}
		errs = append(errs, s.SetNeighbour(a, mac, ok))
	}
	return n, errors.Join(errs...)
}

// read takes what the kernel has for what it was told. A way that only one of
// its two tables has is none.
func (s *Segment) read() error {
	fdb, err := s.dev.FDB(s.vxlan)
	if err != nil {
		return err
	}
	ports, err := s.dev.BridgeFDB(s.vxlan)
	if err != nil {
		return err
	}
	neighbours, err := s.dev.Neighbours(s.bridge)
	if err != nil {
		return err
	}
	s.told = cluster.Forwarding{Ways: map[string]netip.Addr{}, Neighbours: map[netip.Addr]string{}}
	has := map[string]bool{}
	for _, mac := range ports {
		has[mac] = true
	}
	for _, e := range fdb {
		_, twice := s.told.Ways[e.MAC]
		s.told.Ways[e.MAC] = e.Remote
		if twice || !has[e.MAC] {
			s.told.Ways[e.MAC] = netip.IPv4Unspecified() // differs from every VTEP
		}
		delete(has, e.MAC)
	}
	for mac := range has {
		s.told.Ways[mac] = netip.IPv4Unspecified()
	}
	for _, n := range neighbours {
		s.told.Neighbours[n.Addr] = n.MAC
	}
	return nil
}

func union[K comparable, V any](a, b map[K]V) map[K]V {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// Entries lists the kernel's state as lines, for status and tests.
func (s *Segment) Entries() ([]string, error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	var lines []string
	for mac, vtep := range s.told.Ways {
		lines = append(lines, mac+" at "+vtep.String())
	}
	for a, mac := range s.told.Neighbours {
		lines = append(lines, a.String()+" is "+mac)
	}
	slices.Sort(lines)
	return lines, nil
}
