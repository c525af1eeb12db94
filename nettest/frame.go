package nettest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// Frame is an Ethernet frame as it was on a device. Its methods answer with
// zero values where the frame is too short or of another kind.
type Frame []byte

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
)

// Dst is the destination's hardware address.
func (f Frame) Dst() net.HardwareAddr { return net.HardwareAddr(f.part(0, 6)) }

// Src is the source's hardware address.
func (f Frame) Src() net.HardwareAddr { return net.HardwareAddr(f.part(6, 12)) }

// Flooded tells whether the frame is for many: broadcast or multicast.
func (f Frame) Flooded() bool { return len(f) > 0 && f[0]&1 != 0 }

// EtherType is the protocol that the frame carries.
func (f Frame) EtherType() uint16 {
	if len(f) < 14 {
		return 0
	}
	return binary.BigEndian.Uint16(f[12:])
}

// Payload follows the Ethernet header.
func (f Frame) Payload() []byte { return f.part(14, len(f)) }

func (f Frame) part(from, to int) []byte {
	if len(f) < to || from > to {
		return nil
	}
	return f[from:to]
}

// IP is the packet's header, of either family, and what follows it.
// Extension headers of IPv6 are left in the body.
func (f Frame) IP() (src, dst netip.Addr, protocol int, body []byte) {
	p := f.Payload()
	switch f.EtherType() {
	case etherIPv4:
		if len(p) < 20 || len(p) < int(p[0]&15)*4 {
			return
		}
		return netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:])), int(p[9]), p[int(p[0]&15)*4:]
	case etherIPv6:
		if len(p) < 40 {
			return
		}
		return netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:])), int(p[6]), p[40:]
	}
	return
}

// Ports are those of a TCP or UDP packet.
func (f Frame) Ports() (src, dst uint16) {
	_, _, protocol, body := f.IP()
	if protocol != protocolTCP && protocol != protocolUDP || len(body) < 4 {
		return 0, 0
	}
	return binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
}

// VXLAN is the frame inside a UDP packet to the port (RFC 7348, section 5).
func (f Frame) VXLAN(port uint16) (vni uint32, inner Frame, ok bool) {
	_, _, protocol, body := f.IP()
	_, dst := f.Ports()
	if protocol != protocolUDP || dst != port || len(body) < 16 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(body[12:]) >> 8, Frame(body[16:]), true
}

// String is a line that tells what the frame is, for a test's message.
func (f Frame) String() string {
	head := fmt.Sprintf("%s > %s", f.Src(), f.Dst())
	src, dst, protocol, _ := f.IP()
	if !src.IsValid() {
		if f.EtherType() == etherARP {
			return head + " ARP " + f.arp()
		}
		return fmt.Sprintf("%s ethertype %#04x", head, f.EtherType())
	}
	from, to := f.Ports()
	switch protocol {
	case protocolTCP, protocolUDP:
		name := map[int]string{protocolTCP: "TCP", protocolUDP: "UDP"}[protocol]
		return fmt.Sprintf("%s %s %s > %s", head, name, netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to))
	case protocolICMP, protocolICMPv6:
		return fmt.Sprintf("%s ICMP %s > %s", head, src, dst)
	}
	return fmt.Sprintf("%s protocol %d %s > %s", head, protocol, src, dst)
}

// arp reads RFC 826's packet for Ethernet and IPv4.
func (f Frame) arp() string {
	p := f.Payload()
	if len(p) < 28 {
		return "truncated"
	}
	return fmt.Sprintf("%s is at %s, to %s", netip.AddrFrom4([4]byte(p[14:])), net.HardwareAddr(p[8:14]), netip.AddrFrom4([4]byte(p[24:])))
}
