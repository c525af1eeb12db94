package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// Event is something that has changed in the kernel. One of its fields is set.
type Event struct {
	Link  *Device      // has come or changed
	Gone  int          // index of a device that has gone, or has left its bridge
	Entry *LostEntry   // has gone
	Addr  netip.Prefix // of the host has come or gone
	Lost  bool         // events have been lost: anything may have changed
}

// LostEntry is a forwarding or neighbour entry that the kernel has no more.
type LostEntry struct {
	Link int // index
	MAC  string
	Addr netip.Addr
}

// Watch tells of what changes in one network namespace.
type Watch struct {
	file *os.File
	buf  []byte
}

// watchBuffer is room for some thousand events: a flush comes as one burst.
const watchBuffer = 4 << 20

// NewWatch opens a Watch in the calling thread's namespace.
func NewWatch() (*Watch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// Where the host may not force it, the limit of others will do.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer)
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_NEIGH | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	err = errors.Join(filter(fd), unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch rtnetlink: %w", err)
	}
	return &Watch{file: os.NewFile(uintptr(fd), "rtnetlink"), buf: make([]byte, 64<<10)}, nil
}

// filter keeps what is not relevant from a socket.
func filter(fd int) error {
	program, err := relevant()
	if err != nil {
		return err
	}
	raw := make([]unix.SockFilter, len(program))
	for i, r := range program {
		raw[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
}

// relevant is a socket filter: it drops in the kernel what would only wake the
// program. That is its own thousands of new entries, and what a container that
// comes or goes does to its veth, of which the kernel tells a dozen times: of
// the device, and by messages of family AF_BRIDGE of the port. That a port has
// gone is let through, for that message does not say of which kind.
func relevant() ([]bpf.RawInstruction, error) {
	const (
		typeOffset   = 4                 // in struct nlmsghdr
		familyOffset = unix.NLMSG_HDRLEN // in struct ifinfomsg, its first
		attrsOffset  = unix.NLMSG_HDRLEN + sizeofIfInfomsg
		valueOffset  = 4 // in struct nlattr
		veth         = 'v'<<24 | 'e'<<16 | 't'<<8 | 'h'
	)
	accept, drop := bpf.RetConstant{Val: ^uint32(0)}, bpf.RetConstant{Val: 0}
	when := func(v uint32, end bpf.RetConstant) []bpf.Instruction {
		return []bpf.Instruction{bpf.JumpIf{Val: v, SkipFalse: 1}, end}
	}
	return bpf.Assemble(slices.Concat(
		[]bpf.Instruction{bpf.LoadAbsolute{Off: typeOffset, Size: 2}},
		when(networkOrder(unix.RTM_DELNEIGH), accept),
		when(networkOrder(unix.RTM_NEWADDR), accept),
		when(networkOrder(unix.RTM_DELADDR), accept),
		[]bpf.Instruction{
			bpf.JumpIf{Val: networkOrder(unix.RTM_DELLINK), SkipTrue: 5},
			bpf.JumpIf{Val: networkOrder(unix.RTM_NEWLINK), SkipTrue: 1}, drop,
			bpf.LoadAbsolute{Off: familyOffset, Size: 1},
		},
		when(unix.AF_BRIDGE, drop),
		// The extensions find the attribute of type X from A on, or within the
		// one at A; 0: there is none.
		[]bpf.Instruction{
			bpf.LoadConstant{Dst: bpf.RegA, Val: attrsOffset},
			bpf.LoadConstant{Dst: bpf.RegX, Val: unix.IFLA_LINKINFO},
			bpf.LoadExtension{Num: bpf.ExtNetlinkAttr},
		},
		when(0, accept),
		[]bpf.Instruction{
			bpf.LoadConstant{Dst: bpf.RegX, Val: unix.IFLA_INFO_KIND},
			bpf.LoadExtension{Num: bpf.ExtNetlinkAttrNested},
		},
		when(0, accept),
		[]bpf.Instruction{bpf.TAX{}, bpf.LoadIndirect{Off: valueOffset, Size: 4}},
		when(veth, drop),
		[]bpf.Instruction{accept},
	))
}

// networkOrder is how a socket filter loads a number that is in the host's order.
func networkOrder(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}

// Close ends the Watch, and Next with os.ErrClosed.
func (w *Watch) Close() error { return w.file.Close() }

// Next waits for the next events.
func (w *Watch) Next() ([]Event, error) {
	for {
		n, err := w.file.Read(w.buf)
		if errors.Is(err, unix.ENOBUFS) {
			return []Event{{Lost: true}}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("watch rtnetlink: %w", err)
		}
		if events := decodeEvents(w.buf[:n]); len(events) > 0 {
			return events, nil
		}
	}
}

func decodeEvents(data []byte) (events []Event) {
	for len(data) >= unix.NLMSG_HDRLEN {
		length := int(u32(data))
		if length < unix.NLMSG_HDRLEN || length > len(data) {
			return append(events, Event{Lost: true})
		}
		if e, ok := decodeEvent(binary.NativeEndian.Uint16(data[4:]), data[unix.NLMSG_HDRLEN:length]); ok {
			events = append(events, e)
		}
		data = data[min(len(data), (length+3)&^3):]
	}
	return events
}

func decodeEvent(typ uint16, payload []byte) (e Event, ok bool) {
	switch typ {
	case unix.RTM_NEWLINK:
		if len(payload) >= sizeofIfInfomsg {
			e.Link = decodeDevice(payload)
		}
		return e, e.Link != nil
	case unix.RTM_DELLINK:
		if len(payload) >= sizeofIfInfomsg {
			e.Gone = int(int32(u32(payload[4:])))
		}
		return e, e.Gone != 0
	case unix.RTM_DELNEIGH:
		e.Entry = decodeLostEntry(payload)
		return e, e.Entry != nil
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		addr, ok := decodeAddr(payload)
		e.Addr = addr.Prefix
		return e, ok
	}
	return e, false
}

// sizeofNdmsg is struct ndmsg of include/uapi/linux/neighbour.h.
const sizeofNdmsg = 12

func decodeLostEntry(payload []byte) *LostEntry {
	if len(payload) < sizeofNdmsg {
		return nil
	}
	e := &LostEntry{Link: int(int32(u32(payload[4:])))}
	nlsock.Attrs(payload[sizeofNdmsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NDA_DST:
			addr, _ := netip.AddrFromSlice(v)
			e.Addr = addr.Unmap()
		case unix.NDA_LLADDR:
			e.MAC = net.HardwareAddr(v).String()
		}
	})
	return e
}
