package firewall

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// guardProgram is what the rules of "bridge berth" say, for a host whose
// packet filter is iptables, which sees neither ARP nor bridged frames: a
// classic BPF program for the ingress of one port (tc-bpf(8), direct action).
// It needs no table of anybody's, and goes with its port.
//
// A load behind the end of a frame ends the program and lets the frame pass
// (bpf_convert_filter, net/core/filter.c). What ends there is no message that
// the guard is about: receivers refuse it for the same reason.
func guardProgram(e *Endpoint) []bpf.Instruction {
	arp := guardARP(e)
	program := append(sameMAC(etherSource, e.MAC), loadAbs(etherType, 2), bpf.JumpIf{Val: unix.ETH_P_ARP, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(arp))})
	program = append(program, arp...)
	program = append(program, unless(unix.ETH_P_IPV6, passFrame)...)
	return append(program, guardIPv6(e)...)
}

// Results of a direct-action program, include/uapi/linux/pkt_cls.h: to pass is
// to ask the next filter of the port, if there is one.
var (
	dropFrame = bpf.RetConstant{Val: 2}          // TC_ACT_SHOT
	passFrame = bpf.RetConstant{Val: 0xffffffff} // TC_ACT_UNSPEC
)

// Offsets into a frame. The kernel has taken a VLAN tag out of it.
const (
	etherSource = 6
	etherType   = 12
	etherLen    = 14
	arpMAC      = etherLen + 8
	arpIP       = etherLen + 14
	ip6Next     = etherLen + 6
	ip6Source   = etherLen + 8
	ip6Len      = 40
	icmp6Target = 8 // from the ICMPv6 header
)

func loadAbs(offset uint32, size int) bpf.Instruction {
	return bpf.LoadAbsolute{Off: offset, Size: size}
}

// unless ends the program where the accumulator is something else.
func unless(value uint32, end bpf.Instruction) []bpf.Instruction {
	return []bpf.Instruction{bpf.JumpIf{Val: value, SkipTrue: 1}, end}
}

// when ends the program where the accumulator is that.
func when(value uint32, end bpf.Instruction) []bpf.Instruction {
	return []bpf.Instruction{bpf.JumpIf{Val: value, SkipFalse: 1}, end}
}

func sameMAC(offset uint32, mac []byte) []bpf.Instruction {
	high := append([]bpf.Instruction{loadAbs(offset, 4)}, unless(binary.BigEndian.Uint32(mac), dropFrame)...)
	low := append([]bpf.Instruction{loadAbs(offset+4, 2)}, unless(uint32(binary.BigEndian.Uint16(mac[4:])), dropFrame)...)
	return append(high, low...)
}

// guardARP lets the port speak for its own addresses, and probe with none
// (RFC 5227).
func guardARP(e *Endpoint) []bpf.Instruction {
	code := append(sameMAC(arpMAC, e.MAC), loadAbs(arpIP, 4))
	code = append(code, when(0, passFrame)...)
	for _, a := range e.Addresses {
		if a.Is4() {
			code = append(code, when(binary.BigEndian.Uint32(a.AsSlice()), passFrame)...)
		}
	}
	return append(code, dropFrame)
}

// extensionHeaders is how many headers may stand before ICMPv6: a loop has no
// place in classic BPF, and hosts have no use for more.
const extensionHeaders = 6

// guardIPv6 finds ICMPv6 and holds neighbour discovery to the port's
// addresses.
func guardIPv6(e *Endpoint) []bpf.Instruction {
	code := []bpf.Instruction{loadAbs(ip6Next, 1), bpf.LoadConstant{Dst: bpf.RegX, Val: etherLen + ip6Len}}
	length := len(nextHeader(0))
	for left := extensionHeaders; left > 0; left-- {
		code = append(code, nextHeader(uint32(left*length-2))...)
	}
	code = append(code, unless(unix.IPPROTO_ICMPV6, dropFrame)...)
	code = append(code, bpf.LoadIndirect{Size: 1})
	code = append(code, when(134, dropFrame)...) // router advertisement
	code = append(code, when(137, dropFrame)...) // redirect
	own := []netip.Addr{linkLocal(e.MAC)}
	for _, a := range e.Addresses {
		if a.Is6() {
			own = append(own, a)
		}
	}
	advertised := oneOf(own, func(word uint32) bpf.Instruction {
		return bpf.LoadIndirect{Off: icmp6Target + word, Size: 4}
	})
	code = append(code, bpf.JumpIf{Val: 136, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(advertised))})
	code = append(code, advertised...)
	code = append(code, unless(135, passFrame)...)
	// A probe comes from no address yet (RFC 4862).
	return append(code, oneOf(append(own, netip.IPv6Unspecified()), func(word uint32) bpf.Instruction {
		return loadAbs(ip6Source+word, 4)
	})...)
}

// nextHeader steps over one extension header. Before and after, the
// accumulator has the number of a header and X its offset. At ICMPv6 it skips
// as many instructions as are between its second and the end of the headers.
func nextHeader(toICMP uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Val: unix.IPPROTO_ICMPV6, SkipFalse: 1},
		bpf.Jump{Skip: toICMP},
		bpf.JumpIf{Val: unix.IPPROTO_HOPOPTS, SkipTrue: 9},
		bpf.JumpIf{Val: unix.IPPROTO_ROUTING, SkipTrue: 8},
		bpf.JumpIf{Val: unix.IPPROTO_DSTOPTS, SkipTrue: 7},
		bpf.JumpIf{Val: unix.IPPROTO_FRAGMENT, SkipTrue: 1},
		passFrame,
		// A fragment that is not the first has no header to look at.
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0xfff8, SkipTrue: 1},
		passFrame,
		bpf.LoadConstant{Dst: bpf.RegA, Val: 0}, // a fragment header is of eight bytes
		bpf.Jump{Skip: 1},
		bpf.LoadIndirect{Off: 1, Size: 1}, // the length, in eight bytes, less one
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3},
		bpf.StoreScratch{Src: bpf.RegA, N: 0},
		bpf.LoadIndirect{Size: 1}, // which one is next
		bpf.StoreScratch{Src: bpf.RegA, N: 1},
		bpf.LoadScratch{Dst: bpf.RegA, N: 0},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{},
		bpf.LoadScratch{Dst: bpf.RegA, N: 1},
	}
}

// oneOf ends the program: it passes a frame that has one of the addresses
// where load says.
func oneOf(addrs []netip.Addr, load func(word uint32) bpf.Instruction) (code []bpf.Instruction) {
	for _, a := range addrs {
		raw := a.As16()
		for word := uint32(0); word < 16; word += 4 {
			// Past the other words and the verdict, to the next address.
			code = append(code, load(word), bpf.JumpIf{Val: binary.BigEndian.Uint32(raw[word:]), SkipFalse: uint8(7 - word/2)})
		}
		code = append(code, passFrame)
	}
	return append(code, dropFrame)
}
