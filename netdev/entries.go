package netdev

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// Entries collects changes of forwarding and neighbour entries, which
// Handle.Apply makes in few system calls: a host of a large cluster has tens
// of thousands. The zero value is empty and ready.
type Entries struct{ batches []*nlsock.Batch }

// entriesAtOnce bounds a batch: the acknowledgements of one must fit into the
// socket's receive buffer (net.core.rmem_default, 208 KiB, of which each takes
// nearly one).
const entriesAtOnce = 128

func (e *Entries) open(typ, flags uint16, what string) *nlsock.Batch {
	if n := len(e.batches); n == 0 || e.batches[n-1].Len() == entriesAtOnce {
		e.batches = append(e.batches, new(nlsock.Batch))
	}
	b := e.batches[len(e.batches)-1]
	b.Message(typ, flags, what)
	return b
}

// change is what becomes of an entry. One is never created exclusively: that
// would fail on a leftover, and on the entry of a container that has moved.
type change struct {
	verb  string
	typ   uint16
	flags uint16
}

var (
	setEntry    = change{"set", unix.RTM_NEWNEIGH, unix.NLM_F_CREATE | unix.NLM_F_REPLACE}
	addEntry    = change{"add", unix.RTM_NEWNEIGH, unix.NLM_F_CREATE | unix.NLM_F_APPEND}
	removeEntry = change{"delete", unix.RTM_DELNEIGH, 0}
)

func setOrRemove(set bool) change {
	if set {
		return setEntry
	}
	return removeEntry
}

// entry begins a message; attributes follow.
func (e *Entries) entry(c change, family uint8, link Link, state uint16, flags uint8, what string) *nlsock.Batch {
	b := e.open(c.typ, c.flags, c.verb+" "+what+" of "+link.Attrs().Name)
	b.U8(family)
	b.Zeros(3)
	b.U32(uint32(link.Attrs().Index))
	b.U16(state)
	b.U8(flags)
	b.U8(0) // the end of struct ndmsg
	return b
}

// SetFDB makes the VTEP at remote the one destination for a MAC.
func (e *Entries) SetFDB(vxlan Link, mac net.HardwareAddr, remote netip.Addr) {
	e.destination(setEntry, vxlan, mac, remote)
}

// AddFDB adds a VTEP to the destinations of a MAC, AnyMAC mostly.
func (e *Entries) AddFDB(vxlan Link, mac net.HardwareAddr, remote netip.Addr) {
	e.destination(addEntry, vxlan, mac, remote)
}

// RemoveFDB removes one destination of a MAC.
func (e *Entries) RemoveFDB(vxlan Link, mac net.HardwareAddr, remote netip.Addr) {
	e.destination(removeEntry, vxlan, mac, remote)
}

// DropFDB removes a MAC with all of its destinations: that is what the kernel
// does when the request names none (__vxlan_fdb_delete).
func (e *Entries) DropFDB(vxlan Link, mac net.HardwareAddr) {
	e.fdb(removeEntry, vxlan, mac)
}

// destination names the underlay device where the VXLAN device is bound to
// one: the kernel takes it from the entry alone, and would else send by
// whatever route leads to remote (vxlan_xmit_one of
// drivers/net/vxlan/vxlan_core.c).
func (e *Entries) destination(c change, vxlan Link, mac net.HardwareAddr, remote netip.Addr) {
	b := e.fdb(c, vxlan, mac)
	b.Bytes(unix.NDA_DST, remote.AsSlice())
	if v, ok := vxlan.(*netlink.Vxlan); ok && v.VtepDevIndex != 0 {
		b.Uint32(unix.NDA_IFINDEX, uint32(v.VtepDevIndex))
	}
}

func (e *Entries) fdb(c change, vxlan Link, mac net.HardwareAddr) *nlsock.Batch {
	b := e.entry(c, unix.AF_BRIDGE, vxlan, unix.NUD_PERMANENT|unix.NUD_NOARP, unix.NTF_SELF, "FDB entry "+mac.String())
	b.Bytes(unix.NDA_LLADDR, mac)
	return b
}

// BridgeFDB makes a bridge's port the way to a MAC, or removes that.
func (e *Entries) BridgeFDB(set bool, port Link, mac net.HardwareAddr) {
	b := e.entry(setOrRemove(set), unix.AF_BRIDGE, port, unix.NUD_NOARP, unix.NTF_MASTER, "bridge FDB entry "+mac.String())
	b.Bytes(unix.NDA_LLADDR, mac)
}

// Neighbour sets an address's MAC for good, or removes the entry.
func (e *Entries) Neighbour(set bool, link Link, addr netip.Addr, mac net.HardwareAddr) {
	family := uint8(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	b := e.entry(setOrRemove(set), family, link, unix.NUD_PERMANENT, 0, "neighbour "+addr.String())
	b.Bytes(unix.NDA_DST, addr.AsSlice())
	if set {
		b.Bytes(unix.NDA_LLADDR, mac)
	}
}

// Apply makes the changes in order, goes on past what the kernel refuses, and
// joins those errors. Removing what is not there is success.
func (h *Handle) Apply(e *Entries) error {
	sock, err := h.socket()
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range e.batches {
		failed, err := sock.Do(b, nil)
		errs = append(errs, err)
		for _, f := range failed {
			if !missing(f) {
				errs = append(errs, f)
			}
		}
	}
	return errors.Join(errs...)
}
