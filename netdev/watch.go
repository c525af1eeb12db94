package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

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
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, onlyTypes(
			unix.RTM_DELNEIGH, unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR)),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch rtnetlink: %w", err)
	}
	return &Watch{file: os.NewFile(uintptr(fd), "rtnetlink"), buf: make([]byte, 64<<10)}, nil
}

// onlyTypes is a socket filter that keeps a program's own thousands of new
// entries from it: it drops messages of other types in the kernel.
func onlyTypes(types ...uint16) *unix.SockFprog {
	const typeOffset = 4 // in struct nlmsghdr
	code := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: typeOffset}}
	for i, t := range types {
		// A load is in network order, a message in the host's.
		k := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, t))
		code = append(code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(types) - i), K: uint32(k)})
	}
	code = append(code,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)})
	return &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
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
		// Of family AF_BRIDGE it tells of a port's flags, not of the device.
		if len(payload) >= sizeofIfInfomsg && payload[0] == unix.AF_UNSPEC {
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
