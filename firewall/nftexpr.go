package firewall

import (
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of the nftables machine: reg1 is sixteen bytes, and word(i) are
// the four-byte parts of it and of those behind it
// (include/uapi/linux/netfilter/nf_tables.h).
const reg1 = unix.NFT_REG_1

func word(i uint32) uint32 { return unix.NFT_REG32_00 + i }

// match is one condition or action of a rule.
type match = []expr.Any

func rule(parts ...match) match { return flatten(parts) }

// family limits a rule to IPv4 or IPv6.
func family(is4 bool) match {
	proto := byte(unix.NFPROTO_IPV6)
	if is4 {
		proto = unix.NFPROTO_IPV4
	}
	return match{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1}, equal([]byte{proto})}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data}
}

// saddr and daddr load the packet's addresses into a register.
func saddr(is4 bool, reg uint32) expr.Any {
	if is4 {
		return networkHeader(reg, 12, 4)
	}
	return networkHeader(reg, 8, 16)
}

func daddr(is4 bool, reg uint32) expr.Any {
	if is4 {
		return networkHeader(reg, 16, 4)
	}
	return networkHeader(reg, 24, 16)
}

func networkHeader(reg, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
}

func meta(key expr.MetaKey, reg uint32) expr.Any { return &expr.Meta{Key: key, Register: reg} }

// protoPort loads the transport protocol and its destination port.
func protoPort(reg uint32) match {
	return match{
		meta(expr.MetaKeyL4PROTO, reg),
		&expr.Payload{DestRegister: reg + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// in tells whether what was loaded from reg1 on is in the set, notIn that it
// is not.
func in(set *setDef) match {
	return match{&expr.Lookup{SourceRegister: reg1, SetName: set.name}}
}

func notIn(set *setDef) match {
	return match{&expr.Lookup{SourceRegister: reg1, SetName: set.name, Invert: true}}
}

// iif and oif tell whether the packet's interface is in the set of names.
func iif(set *setDef) match { return append(match{meta(expr.MetaKeyIIFNAME, reg1)}, in(set)...) }
func oif(set *setDef) match { return append(match{meta(expr.MetaKeyOIFNAME, reg1)}, in(set)...) }

// notIif tells that the packet came in by another interface; a packet of the
// host's own has none, and does not match.
func notIif(name string) match {
	return match{meta(expr.MetaKeyIIFNAME, reg1), &expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: ifname(name)}}
}

// iifIs tells that the packet came in by that interface.
func iifIs(name string) match { return match{meta(expr.MetaKeyIIFNAME, reg1), equal(ifname(name))} }

// cameAround tells that the packet came in by a loop (loop.go), notAround that
// it came in by another interface. Their names begin alike.
func cameAround() match {
	return match{meta(expr.MetaKeyIIFNAME, reg1), equal([]byte(loopIn))}
}

func notAround() match {
	return match{meta(expr.MetaKeyIIFNAME, reg1), &expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: []byte(loopIn)}}
}

// setMark and hasMark are of the packet's mark.
func setMark(m uint32) match {
	return match{
		&expr.Immediate{Register: reg1, Data: binaryutil.NativeEndian.PutUint32(m)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg1},
	}
}

func hasMark(m uint32) match {
	return match{meta(expr.MetaKeyMARK, reg1), equal(binaryutil.NativeEndian.PutUint32(m))}
}

// setPriority and hasPriority are of the packet's priority, a number of 32
// bits that queues look at.
func setPriority(p uint32) match {
	return match{
		&expr.Immediate{Register: reg1, Data: binaryutil.NativeEndian.PutUint32(p)},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: reg1},
	}
}

func hasPriority(p uint32) match {
	return match{meta(expr.MetaKeyPRIORITY, reg1), equal(binaryutil.NativeEndian.PutUint32(p))}
}

// originalPort loads the destination port that the connection began with.
func originalPort(reg uint32) expr.Any {
	return &expr.Ct{Key: expr.CtKeyPROTODST, Register: reg} // of direction 0, IP_CT_DIR_ORIGINAL
}

// remember updates the set with the key from reg1 on, or deletes it there.
func remember(set *setDef, operation uint32) match {
	d := &expr.Dynset{SrcRegKey: reg1, SetName: set.name, Operation: operation}
	if operation != dynsetDelete {
		d.Timeout = admitted
	}
	return match{d}
}

const dynsetDelete = 2 // NFT_DYNSET_OP_DELETE

// copyTo sends a copy of the packet to a gateway behind a device.
func copyTo(gateway []byte, device int) match {
	return match{
		&expr.Immediate{Register: reg1, Data: gateway},
		&expr.Immediate{Register: unix.NFT_REG_2, Data: binaryutil.NativeEndian.PutUint32(uint32(device))},
		&expr.Dup{RegAddr: reg1, RegDev: unix.NFT_REG_2, IsRegDevSet: true},
	}
}

// through looks the pair of both interfaces up.
func through(set *setDef) match {
	return append(match{meta(expr.MetaKeyIIFNAME, reg1), meta(expr.MetaKeyOIFNAME, unix.NFT_REG_2)}, in(set)...)
}

// toInside tells that the packet leaves to a network whose containers may talk
// among themselves.
func toInside() match {
	return append(match{meta(expr.MetaKeyOIFNAME, reg1), meta(expr.MetaKeyOIFNAME, unix.NFT_REG_2)}, in(inside)...)
}

// forHost tells that the destination is one of the host's addresses
// (CVE-2025-67499: a published port is not every host's).
func forHost() match {
	return match{
		&expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true},
		equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)),
	}
}

// ctState and ctStatus tell whether conntrack has one of the bits.
func ctState(bits uint32) match { return ct(expr.CtKeySTATE, bits) }

// translated tells that the destination was changed: a published port.
func translated() match { return ct(expr.CtKeySTATUS, ipsDstNAT) }

// ipsDstNAT is IPS_DST_NAT of nf_conntrack_common.h.
const ipsDstNAT = 1 << 5

func ct(key expr.CtKey, bits uint32) match {
	zero := make([]byte, 4)
	return match{
		&expr.Ct{Key: key, Register: reg1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: zero},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: zero},
	}
}

// sourceNet and destNet match a prefix of whole bytes.
func destNet(is4 bool, prefix []byte) match {
	load := daddr(is4, reg1).(*expr.Payload)
	load.Len = uint32(len(prefix))
	return append(family(is4), load, equal(prefix))
}

func sourceNet(is4 bool, prefix []byte) match {
	load := saddr(is4, reg1).(*expr.Payload)
	load.Len = uint32(len(prefix))
	return append(family(is4), load, equal(prefix))
}

// publish sends the packet to what the map says; without an entry the rule
// does not match.
func publish(is4, oneAddress, interval bool) match {
	single, ranges := portSets(is4, oneAddress)
	set, fam, words := single, uint32(unix.NFPROTO_IPV6), uint32(4)
	if interval {
		set = ranges
	}
	if is4 {
		fam, words = unix.NFPROTO_IPV4, 1
	}
	m := family(is4)
	if oneAddress {
		m = append(m, daddr(is4, reg1))
		m = append(m, protoPort(word(words))...)
	} else {
		m = append(m, protoPort(word(0))...)
	}
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: fam, RegAddrMin: reg1}
	if !interval {
		nat.RegProtoMin, nat.Specified = word(words), true
	}
	return append(m, &expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: set.name}, nat)
}

func masquerade() match { return match{&expr.Masq{FullyRandom: true}} }

func verdict(kind expr.VerdictKind) match { return match{&expr.Verdict{Kind: kind}} }
func accept() match                       { return verdict(expr.VerdictAccept) }
func drop() match                         { return match{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}} }
func leave() match                        { return verdict(expr.VerdictReturn) }
func jump(chain string) match {
	return match{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}
