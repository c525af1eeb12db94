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

// FDB lists the permanent entries of a VXLAN device: not what it has learned.
func (h *Handle) FDB(vxlan Link) ([]FDBEntry, error) {
	neighs, err := h.fdbDump(vxlan)
	if err != nil {
		return nil, err
	}
	var entries []FDBEntry
	for _, n := range neighs {
		if n.Flags&unix.NTF_SELF == 0 || n.State&unix.NUD_PERMANENT == 0 {
			continue
		}
		remote, ok := netip.AddrFromSlice(n.IP)
		if ok {
			entries = append(entries, FDBEntry{MAC: n.HardwareAddr.String(), Remote: remote.Unmap()})
		}
	}
	return entries, nil
}

func (h *Handle) fdbDump(link Link) ([]netlink.Neigh, error) {
	neighs, err := retry(func() ([]netlink.Neigh, error) { return h.nl.NeighList(link.Attrs().Index, unix.AF_BRIDGE) })
	if err != nil {
		return nil, fmt.Errorf("list FDB of %s: %w", link.Attrs().Name, err)
	}
	return neighs, nil
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

// BridgeFDB lists the MACs that were set on a bridge's port for good, its own
// address aside.
func (h *Handle) BridgeFDB(port Link) ([]string, error) {
	neighs, err := h.fdbDump(port)
	if err != nil {
		return nil, err
	}
	var macs []string
	for _, n := range neighs {
		if n.MasterIndex != 0 && n.Flags&unix.NTF_SELF == 0 && n.State&unix.NUD_NOARP != 0 {
			macs = append(macs, n.HardwareAddr.String())
		}
	}
	return macs, nil
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
	var entries []Neighbour
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		neighs, err := retry(func() ([]netlink.Neigh, error) { return h.nl.NeighList(link.Attrs().Index, family) })
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
			return nil, fmt.Errorf("list neighbours of %s: %w", link.Attrs().Name, err)
		}
		for _, n := range neighs {
			addr, ok := netip.AddrFromSlice(n.IP)
			if ok && n.State&unix.NUD_PERMANENT != 0 {
				entries = append(entries, Neighbour{Addr: addr.Unmap(), MAC: n.HardwareAddr.String()})
			}
		}
	}
	return entries, nil
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
