package netdev

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// Entries collects changes of forwarding and neighbour entries, to be made in
// few system calls: a host of a large cluster has tens of thousands. The zero
// value is empty and ready.
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

// entry begins a message; attributes follow.
func (e *Entries) entry(set bool, family uint8, link Link, state uint16, flags uint8, what string) *nlsock.Batch {
	typ, how, verb := uint16(unix.RTM_DELNEIGH), uint16(0), "delete "
	if set {
		typ, how, verb = unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, "set "
	}
	b := e.open(typ, how, verb+what+" of "+link.Attrs().Name)
	b.U8(family)
	b.Zeros(3)
	b.U32(uint32(link.Attrs().Index))
	b.U16(state)
	b.U8(flags)
	b.U8(0) // the end of struct ndmsg
	return b
}

// SetFDB makes the VTEP the destination for a MAC, as ReplaceFDB does.
func (e *Entries) SetFDB(vxlan Link, mac net.HardwareAddr, remote netip.Addr) {
	fdbEntry(e.fdb(true, vxlan, mac), vxlan, mac, remote)
}

// DropFDB removes a MAC with all of its destinations: that is what the kernel
// does when the request names none (__vxlan_fdb_delete).
func (e *Entries) DropFDB(vxlan Link, mac net.HardwareAddr) {
	e.fdb(false, vxlan, mac).Bytes(unix.NDA_LLADDR, mac)
}

func (e *Entries) fdb(set bool, vxlan Link, mac net.HardwareAddr) *nlsock.Batch {
	return e.entry(set, unix.AF_BRIDGE, vxlan, unix.NUD_PERMANENT|unix.NUD_NOARP, unix.NTF_SELF, "FDB entry "+mac.String())
}

// BridgeFDB makes a bridge's port the way to a MAC, or removes that.
func (e *Entries) BridgeFDB(set bool, port Link, mac net.HardwareAddr) {
	b := e.entry(set, unix.AF_BRIDGE, port, unix.NUD_NOARP, unix.NTF_MASTER, "bridge FDB entry "+mac.String())
	b.Bytes(unix.NDA_LLADDR, mac)
}

// Neighbour sets an address's MAC for good, or removes the entry.
func (e *Entries) Neighbour(set bool, link Link, addr netip.Addr, mac net.HardwareAddr) {
	family := uint8(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	b := e.entry(set, family, link, unix.NUD_PERMANENT, 0, "neighbour "+addr.String())
	b.Bytes(unix.NDA_DST, addr.AsSlice())
	if set {
		b.Bytes(unix.NDA_LLADDR, mac)
	}
}

// fdbEntry ends a message of a VXLAN device's FDB. Where the device is bound
// to an underlay device the entry is too: the kernel takes it from the entry
// alone, and would else send by whatever route leads to remote (vxlan_xmit_one
// of drivers/net/vxlan/vxlan_core.c).
func fdbEntry(b *nlsock.Batch, vxlan Link, mac net.HardwareAddr, remote netip.Addr) {
	b.Bytes(unix.NDA_DST, remote.AsSlice())
	b.Bytes(unix.NDA_LLADDR, mac)
	if v, ok := vxlan.(*netlink.Vxlan); ok && v.VtepDevIndex != 0 {
		b.Uint32(unix.NDA_IFINDEX, uint32(v.VtepDevIndex))
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
