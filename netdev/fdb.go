package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

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

// Neighbour is a permanent entry of a device's ARP or ND table.
type Neighbour struct {
	Addr netip.Addr
	MAC  string // as net.HardwareAddr prints it, so that entries compare
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
