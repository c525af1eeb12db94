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
	"bytes"
	"errors"
	"fmt"
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

// Damaged tells whether a device that has changed is one of the segment's and
// no longer as it was.
func (s *Segment) Damaged(d *netdev.Device) bool {
	var was netdev.Link
	switch d.Index {
	case s.Bridge():
		was = s.bridge
	case s.VXLAN():
		was = s.vxlan
	default:
		return false
	}
	return !d.Up || d.Master != was.Attrs().MasterIndex || !bytes.Equal(d.MAC, was.Attrs().HardwareAddr)
}

// Bridge and VXLAN are the indices of the segment's devices.
func (s *Segment) Bridge() int { return s.bridge.Attrs().Index }
func (s *Segment) VXLAN() int  { return s.vxlan.Attrs().Index }

// Owns tells whether a device is the segment's.
func (s *Segment) Owns(index int) bool { return index == s.Bridge() || index == s.VXLAN() }

// A Way is where a MAC is: behind a VTEP, or, not Known, nowhere else.
type Way struct {
	MAC   string
	VTEP  netip.Addr
	Known bool
}

// A Neighbour is who has an address: a MAC elsewhere, or, not Known, nobody
// elsewhere.
type Neighbour struct {
	Addr  netip.Addr
	MAC   string
	Known bool
}

// Set tells the kernel what has changed. The containers here are told of who
// has an address too: one of them may be asking just now, and would ask again
// only a second later (retrans_time_ms), or it may know the address by the MAC
// of who had it before, whose successor it cannot hear because nothing is
// flooded between hosts.
func (s *Segment) Set(ways []Way, neighbours []Neighbour) error {
	errs, news, entries := []error(nil), []Neighbour(nil), new(netdev.Entries)
	for _, w := range ways {
		_, err := s.setWay(entries, w)
		errs = append(errs, err)
	}
	for _, n := range neighbours {
		changed, err := s.setNeighbour(entries, n)
		errs = append(errs, err)
		if changed && n.Known {
			news = append(news, n)
		}
	}
	return errors.Join(append(errs, s.dev.Apply(entries), s.announce(news))...)
}

func (s *Segment) announce(news []Neighbour) error {
	var errs []error
	for _, n := range news {
		mac, err := net.ParseMAC(n.MAC)
		if err == nil {
			err = s.herald.Announce(s.Bridge(), n.Addr, mac)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// setWay and setNeighbour note a change, and tell whether it is one.
func (s *Segment) setWay(entries *netdev.Entries, w Way) (changed bool, err error) {
	old, had := s.told.Ways[w.MAC]
	if had == w.Known && (!had || old == w.VTEP) {
		return false, nil
	}
	mac, err := net.ParseMAC(w.MAC)
	if err != nil {
		return false, fmt.Errorf("program MAC %q: %w", w.MAC, err)
	}
	// An entry that leads to a group of nexthops is not listed, and leads there
	// still when it is replaced (vxlan_fdb_update_existing).
	if !w.Known || old == broken || old == unled {
		delete(s.told.Ways, w.MAC)
		entries.DropFDB(s.vxlan, mac)
	}
	if w.Known {
		s.told.Ways[w.MAC] = w.VTEP
		entries.SetFDB(s.vxlan, mac, w.VTEP)
	}
	entries.BridgeFDB(w.Known, s.vxlan, mac)
	return true, nil
}

func (s *Segment) setNeighbour(entries *netdev.Entries, n Neighbour) (changed bool, err error) {
	old, had := s.told.Neighbours[n.Addr]
	if had == n.Known && (!had || old == n.MAC) {
		return false, nil
	}
	if !n.Known {
		delete(s.told.Neighbours, n.Addr)
		entries.Neighbour(false, s.bridge, n.Addr, nil)
		return true, nil
	}
	mac, err := net.ParseMAC(n.MAC)
	if err != nil {
		return false, fmt.Errorf("program MAC %q: %w", n.MAC, err)
	}
	s.told.Neighbours[n.Addr] = n.MAC
	entries.Neighbour(true, s.bridge, n.Addr, mac)
	return true, nil
}

// Repair makes the kernel's entries equal to want, whatever they were, and
// tells how many differed. With more it leaves those that want lacks. Of the
// new neighbours the containers are told only where they may know another:
// after a start there are thousands.
func (s *Segment) Repair(want cluster.Forwarding, more bool) (int, error) {
	if err := s.read(); err != nil {
		return 0, err
	}
	n, errs, moved, entries := 0, []error(nil), []Neighbour(nil), new(netdev.Entries)
	set := func(changed bool, err error) {
		n += count(changed)
		errs = append(errs, err)
	}
	for mac := range s.told.Ways {
		if _, ok := want.Ways[mac]; !ok && !more {
			set(s.setWay(entries, Way{MAC: mac}))
		}
	}
	for mac, vtep := range want.Ways {
		set(s.setWay(entries, Way{mac, vtep, true}))
	}
	for a := range s.told.Neighbours {
		if _, ok := want.Neighbours[a]; !ok && !more {
			set(s.setNeighbour(entries, Neighbour{Addr: a}))
		}
	}
	for a, mac := range want.Neighbours {
		_, had := s.told.Neighbours[a]
		changed, err := s.setNeighbour(entries, Neighbour{a, mac, true})
		set(changed, err)
		if changed && had {
			moved = append(moved, Neighbour{a, mac, true})
		}
	}
	return n, errors.Join(append(errs, s.dev.Apply(entries), s.announce(moved))...)
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// broken stands for the VTEP of a MAC that the kernel has no one way to, and
// unled for that of one which only the bridge knows. They differ from every
// VTEP.
var broken, unled = netip.IPv4Unspecified(), netip.IPv6Unspecified()

// read takes what the kernel has for what it was told. A way that only one of
// its two tables has is none.
func (s *Segment) read() error {
	// What was told before is not needed meanwhile.
	s.told = cluster.Forwarding{Ways: map[string]netip.Addr{}, Neighbours: map[netip.Addr]string{}}
	fdb, ports, err := s.dev.FDB(s.vxlan)
	if err != nil {
		return err
	}
	for _, mac := range ports {
		s.told.Ways[mac] = unled
	}
	for _, e := range fdb {
		if s.told.Ways[e.MAC] == unled {
			s.told.Ways[e.MAC] = e.Remote
		} else { // no port, or a second way
			s.told.Ways[e.MAC] = broken
		}
	}
	neighbours, err := s.dev.Neighbours(s.bridge)
	if err != nil {
		return err
	}
	for _, n := range neighbours {
		s.told.Neighbours[n.Addr] = n.MAC
	}
	return nil
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
