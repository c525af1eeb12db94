package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// AnyMAC is the all-zero address under which a VXLAN device keeps the peers
// that get every frame without an entry of its own (head-end replication).
var AnyMAC = net.HardwareAddr{0, 0, 0, 0, 0, 0}

// FDBEntry is a forwarding entry of a VXLAN device: frames for MAC go to the
// VTEP at Remote.
type FDBEntry struct {
	MAC    string // as net.HardwareAddr prints it, so that entries compare
	Remote netip.Addr
}

// ReplaceFDB makes the VTEP the one destination for a MAC, whatever was
// there: an exclusive create would fail on a leftover, and on the entry of a
// container that has moved.
func (h *Handle) ReplaceFDB(vxlan Link, mac net.HardwareAddr, remote netip.Addr) error {
	if err := h.changeFDB(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, vxlan, mac, remote); err != nil {
		return fmt.Errorf("set FDB entry %s of %s to %s: %w", mac, vxlan.Attrs().Name, remote, err)
	}
	return nil
}

// AppendFDB adds a VTEP to the destinations of a MAC, AnyMAC mostly. One that
// is there already is success.
func (h *Handle) AppendFDB(vxlan Link, mac net.HardwareAddr, remote netip.Addr) error {
	if err := h.changeFDB(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_APPEND, vxlan, mac, remote); err != nil {
		return fmt.Errorf("add FDB entry %s of %s to %s: %w", mac, vxlan.Attrs().Name, remote, err)
	}
	return nil
}

// DeleteFDB removes a destination of a MAC. One that is not there is success.
func (h *Handle) DeleteFDB(vxlan Link, mac net.HardwareAddr, remote netip.Addr) error {
	if err := h.changeFDB(unix.RTM_DELNEIGH, 0, vxlan, mac, remote); err != nil && !missing(err) {
		return fmt.Errorf("delete FDB entry %s of %s to %s: %w", mac, vxlan.Attrs().Name, remote, err)
	}
	return nil
}

// FDB lists the permanent entries of a VXLAN device, not what it has learned,
// and the MACs that were set for good on the port that it is of a bridge, its
// own address aside.
func (h *Handle) FDB(vxlan Link) (entries []FDBEntry, port []string, err error) {
	err = h.entries(vxlan, unix.AF_BRIDGE, func() { entries, port = nil, nil }, func(e *entry) {
		switch {
		case e.flags&unix.NTF_SELF != 0:
			if e.state&unix.NUD_PERMANENT != 0 && e.dst.IsValid() {
				entries = append(entries, FDBEntry{MAC: e.mac.String(), Remote: e.dst})
			}
		case e.master != 0 && e.state&unix.NUD_NOARP != 0:
			port = append(port, e.mac.String())
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list FDB of %s: %w", vxlan.Attrs().Name, err)
	}
	return entries, port, nil
}

// entry is a forwarding or neighbour entry as the kernel tells it.
type entry struct {
	state  uint16
	flags  uint8
	index  int // of the device
	master int // of the bridge that has it
	mac    net.HardwareAddr
	dst    netip.Addr
}

// entries dumps those of one device, which the kernel picks out: a host has
// many. Each is only valid during its call. A dump that the kernel interrupted
// begins anew.
func (h *Handle) entries(link Link, family uint8, begin func(), each func(*entry)) error {
	sock, err := h.socket()
	if err == nil {
		err = sock.Strict()
	}
	for range attempts {
		if err != nil {
			return err
		}
		var failed []*nlsock.Error
		begin()
		failed, err = sock.Do(dumpEntries(link, family), func(_ int, typ uint16, payload []byte) {
			if e, ok := decodeEntry(payload); ok && typ == unix.RTM_NEWNEIGH && e.index == link.Attrs().Index {
				each(&e)
			}
		})
		if err == nil && len(failed) > 0 {
			return failed[0]
		}
		if !errors.Is(err, nlsock.ErrInterrupted) {
			return err
		}
		err = nil
	}
	return nlsock.ErrInterrupted
}

// dumpEntries asks for one device's entries: FDBs are filtered by the header,
// neighbours by an attribute (valid_fdb_dump_strict and
// neigh_valid_dump_req of the kernel).
func dumpEntries(link Link, family uint8) *nlsock.Batch {
	b, index := new(nlsock.Batch), uint32(link.Attrs().Index)
	b.Message(unix.RTM_GETNEIGH, unix.NLM_F_DUMP, "list entries of "+link.Attrs().Name)
	b.U8(family)
	b.Zeros(3)
	if family == unix.AF_BRIDGE {
		b.U32(index)
	} else {
		b.U32(0)
	}
	b.Zeros(4) // the end of struct ndmsg
	if family != unix.AF_BRIDGE {
		b.Uint32(unix.NDA_IFINDEX, index)
	}
	return b
}

// changeFDB sends one entry, for which the library lacks an attribute.
func (h *Handle) changeFDB(typ, flags uint16, vxlan Link, mac net.HardwareAddr, remote netip.Addr) error {
	sock, err := h.socket()
	if err != nil {
		return err
	}
	var b nlsock.Batch
	b.Message(typ, flags, "FDB entry")
	b.U8(unix.AF_BRIDGE)
	b.Zeros(3)
	b.U32(uint32(vxlan.Attrs().Index))
	b.U16(unix.NUD_PERMANENT | unix.NUD_NOARP)
	b.U8(unix.NTF_SELF)
	b.U8(0) // the end of struct ndmsg
	fdbEntry(&b, vxlan, mac, remote)
	failed, err := sock.Do(&b, nil)
	if len(failed) > 0 {
		return failed[0].Errno
	}
	return err
}

// ReplaceBridgeFDB makes a bridge's port the way to a MAC, for good.
func (h *Handle) ReplaceBridgeFDB(port Link, mac net.HardwareAddr) error {
	if err := h.nl.NeighSet(bridgeEntry(port, mac)); err != nil {
		return fmt.Errorf("set bridge FDB entry %s to port %s: %w", mac, port.Attrs().Name, err)
	}
	return nil
}

// DeleteBridgeFDB removes the entry. One that is not there, or that points to
// another port by now, is success.
func (h *Handle) DeleteBridgeFDB(port Link, mac net.HardwareAddr) error {
	if err := h.nl.NeighDel(bridgeEntry(port, mac)); err != nil && !missing(err) {
		return fmt.Errorf("delete bridge FDB entry %s to port %s: %w", mac, port.Attrs().Name, err)
	}
	return nil
}

func bridgeEntry(port Link, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, Flags: unix.NTF_MASTER,
		State: unix.NUD_NOARP, HardwareAddr: mac,
	}
}

// Neighbour is a permanent entry of a device's ARP or ND table.
type Neighbour struct {
	Addr netip.Addr
	MAC  string // as net.HardwareAddr prints it, so that entries compare
}

// ReplaceNeighbour sets the address's MAC for good.
func (h *Handle) ReplaceNeighbour(link Link, addr netip.Addr, mac net.HardwareAddr) error {
	if err := h.nl.NeighSet(neighbour(link, addr, mac)); err != nil {
		return fmt.Errorf("set neighbour %s of %s to %s: %w", addr, link.Attrs().Name, mac, err)
	}
	return nil
}

// DeleteNeighbour removes the entry. One that is not there is success.
func (h *Handle) DeleteNeighbour(link Link, addr netip.Addr) error {
	err := h.nl.NeighDel(neighbour(link, addr, nil))
	if err != nil && !missing(err) {
		return fmt.Errorf("delete neighbour %s of %s: %w", addr, link.Attrs().Name, err)
	}
	return nil
}

// Neighbours lists the permanent entries of both families.
func (h *Handle) Neighbours(link Link) ([]Neighbour, error) {
	var all []Neighbour
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var of []Neighbour
		err := h.entries(link, family, func() { of = nil }, func(e *entry) {
			if e.state&unix.NUD_PERMANENT != 0 && e.dst.IsValid() {
				of = append(of, Neighbour{Addr: e.dst, MAC: e.mac.String()})
			}
		})
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("list neighbours of %s: %w", link.Attrs().Name, err)
		}
		all = append(all, of...)
	}
	return all, nil
}

func neighbour(link Link, addr netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	return &netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: family, State: unix.NUD_PERMANENT,
		IP: addr.AsSlice(), HardwareAddr: mac,
	}
}
