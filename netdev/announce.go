package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announcements is how often a device's addresses are announced to a segment
// that may lose a frame: MAX_NEIGHBOR_ADVERTISEMENT of RFC 4861 section 10,
// one more than ANNOUNCE_NUM of RFC 5227 section 1.1.
const Announcements = 3

// Announce tells the segment which hardware address now answers for a
// device's addresses: a gratuitous ARP request (RFC 5227 section 3) for each
// of IPv4, an unsolicited neighbour advertisement (RFC 4861 section 7.2.6)
// for each of IPv6, three times. Neighbours that knew the address by another
// hardware address would else send to that until their entry expires.
//
// The three go out one behind the other: what they make up for is the loss of
// single frames. A frame that the device cannot take now is dropped.
//
// It is for processes that live on: closing a packet socket waits for a grace
// period of RCU (packet_release, net/packet/af_packet.c), some milliseconds
// in which an Add has Batch.Announce finished.
func (h *Handle) Announce(link Link, addrs []netip.Prefix) error {
	mac := link.Attrs().HardwareAddr
	if len(addrs) == 0 || len(mac) != etherAddrLen {
		return nil
	}
	frames := make([][]byte, 0, len(addrs))
	for _, p := range addrs {
		frames = append(frames, announcement(mac, p.Addr()))
	}
	err := h.inside(func() error { return sendFrames(link.Attrs().Index, frames, Announcements) })
	if err != nil {
		return fmt.Errorf("announce addresses of %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// Announce has the kernel send the same of the device's addresses. It does
// so when a device is given a hardware address, even its own (NETDEV_CHANGEADDR
// in net/ipv4/devinet.c and net/ipv6/ndisc.c), where LinkChange.Notify is set
// and, for IPv6, the sysctl ndisc_notify. The device must be up.
//
// The RFCs put a second or two between several, but an Add must not last that
// long and nobody is there to send them after it; for a segment that is deaf
// for longer there is Resolve.
func (b *Batch) Announce(name string, mac net.HardwareAddr, times int) {
	for range times {
		b.ChangeLink(name, LinkChange{MAC: mac})
	}
}

// Resolve has the kernel look up a neighbour's hardware address, and does not
// wait for the answer. The question tells the neighbour ours, and the kernel
// repeats it each second (retrans_time_ms) up to three times (mcast_solicit)
// until it is answered: of a gateway it is an announcement that is repeated
// without a process and confirmed.
func (b *Batch) Resolve(index int, neighbour netip.Addr) {
	b.Message(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, fmt.Sprintf("resolve %s", neighbour))
	b.U8(family(neighbour)) // struct ndmsg
	b.Zeros(3)
	b.U32(uint32(index))
	b.U16(unix.NUD_NONE)
	b.U8(unix.NTF_USE)
	b.U8(0)
	b.Bytes(unix.NDA_DST, neighbour.AsSlice())
	// The neighbour table, which all namespaces share (gc_thresh3), is full
	// for now.
	b.tolerate(unix.ENOBUFS)
}

// Confirm makes a neighbour known by its hardware address, and has the kernel
// ask that neighbour alone whether it is so: within a tick, and then once a
// second up to three times (ucast_solicit) until it answers. The question
// tells the neighbour ours.
func (b *Batch) Confirm(index int, neighbour netip.Addr, mac net.HardwareAddr) {
	b.Message(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, fmt.Sprintf("confirm %s at %s", neighbour, mac))
	b.U8(family(neighbour)) // struct ndmsg
	b.Zeros(3)
	b.U32(uint32(index))
	b.U16(unix.NUD_PROBE)
	b.Zeros(2)
	b.Bytes(unix.NDA_DST, neighbour.AsSlice())
	b.Bytes(unix.NDA_LLADDR, mac)
	b.tolerate(unix.ENOBUFS) // as in Resolve
}

// sendFrames sends each frame so many times through a socket that receives
// nothing (protocol 0).
func sendFrames(ifindex int, frames [][]byte, times int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: ifindex}
	for range times {
		for _, frame := range frames {
			if err := unix.Sendto(fd, frame, 0, to); err != nil && !lost(err) {
				return fmt.Errorf("send frame: %w", err)
			}
		}
	}
	return nil
}

// lost tells the errors that mean no more than a frame lost on the wire: a
// full queue, no carrier.
func lost(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENETDOWN)
}

// announcement is the whole Ethernet frame for one address.
func announcement(mac net.HardwareAddr, addr netip.Addr) []byte {
	if addr.Is4() {
		return gratuitousARP(mac, addr.As4())
	}
	return unsolicitedNA(mac, addr.As16())
}

const (
	etherAddrLen = 6
	etherHdrLen  = 14
	ipv6HdrLen   = 40
	naLen        = 32 // with the target link-layer address option
	arpRequest   = 1
	icmpv6NA     = 136
	naOverride   = 0x20 // the O flag, in the first of the four reserved bytes
	optTargetLL  = 2
)

func etherHeader(dst, src net.HardwareAddr, proto uint16) []byte {
	frame := make([]byte, 0, etherHdrLen+ipv6HdrLen+naLen)
	frame = append(frame, dst...)
	frame = append(frame, src...)
	return binary.BigEndian.AppendUint16(frame, proto)
}

// gratuitousARP is a request, not a reply: RFC 5227 section 3 explains why
// that is the form that every implementation takes.
func gratuitousARP(mac net.HardwareAddr, addr [4]byte) []byte {
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	f := etherHeader(broadcast, mac, unix.ETH_P_ARP)
	f = binary.BigEndian.AppendUint16(f, unix.ARPHRD_ETHER)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IP)
	f = append(f, etherAddrLen, byte(len(addr)))
	f = binary.BigEndian.AppendUint16(f, arpRequest)
	f = append(f, mac...)
	f = append(f, addr[:]...)
	f = append(f, make([]byte, etherAddrLen)...)
	return append(f, addr[:]...)
}

// unsolicitedNA goes to all nodes (ff02::1) from the address itself.
func unsolicitedNA(mac net.HardwareAddr, addr [16]byte) []byte {
	allNodes := [16]byte{0: 0xff, 1: 0x02, 15: 1}
	na := []byte{icmpv6NA, 0, 0, 0, naOverride, 0, 0, 0}
	na = append(na, addr[:]...)
	na = append(na, optTargetLL, 1)
	na = append(na, mac...)
	binary.BigEndian.PutUint16(na[2:], icmpv6Checksum(addr, allNodes, na))

	f := etherHeader(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, unix.ETH_P_IPV6)
	f = append(f, 6<<4, 0, 0, 0, 0, naLen, unix.IPPROTO_ICMPV6, 255)
	f = append(f, addr[:]...)
	f = append(f, allNodes[:]...)
	return append(f, na...)
}

// icmpv6Checksum is RFC 4443 section 2.3; payload has an even length.
func icmpv6Checksum(src, dst [16]byte, payload []byte) uint16 {
	sum := uint32(len(payload)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{src[:], dst[:], payload} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
