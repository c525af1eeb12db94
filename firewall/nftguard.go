package firewall

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// bridgeChains are the rules of the table "bridge berth": a guarded port
// sends with its own MAC only, and in ARP and neighbour discovery speaks for
// its own addresses only (CVE-2021-32575). It is no router either
// (CVE-2020-10749).
func bridgeChains() []chainDef {
	return []chainDef{
		{name: "prerouting", kind: "filter", hook: unix.NF_INET_PRE_ROUTING, priority: priorityBridge, rules: []ruleDef{
			{"guarded ports", rule(iif(guarded), jump("guard"))},
		}},
		{name: "guard", rules: []ruleDef{
			{"another's MAC", rule(portWith(sourceMAC), notIn(guardMAC), drop())},
			{"ARP with another's MAC", rule(protocol(unix.ETH_P_ARP), portWith(arpSenderMAC), notIn(guardMAC), drop())},
			{"ARP probe: speaks for nobody yet", rule(protocol(unix.ETH_P_ARP), field(arpSenderIP, make([]byte, 4)), accept())},
			{"ARP for another's address", rule(protocol(unix.ETH_P_ARP), portWith(arpSenderIP), notIn(guardIP4), drop())},
			{"router advertisement, redirect", rule(icmp6(134), drop())},
			{"router advertisement, redirect", rule(icmp6(137), drop())},
			{"neighbour advertisement for another's address", rule(icmp6(136), portWith(ndTarget), notIn(guardIP6), drop())},
			{"neighbour solicitation of a probe: speaks for nobody yet", rule(icmp6(135), field(source6, make([]byte, 16)), accept())},
			{"neighbour solicitation from another's address", rule(icmp6(135), portWith(source6), notIn(guardIP6), drop())},
		}},
	}
}

// Where a frame has what, besides those of the anycast gateway: ARP's sender
// (RFC 826) and IPv6's source. Neighbour discovery has no extension header
// before it (RFC 6980 forbids fragments; others are dropped by hosts that
// demand a hop limit of 255 and no one routes them).
var (
	arpSenderMAC = expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 6}
	arpSenderIP  = expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 14, Len: 4}
	source6      = expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
)

// icmp6 matches an ICMPv6 message. The kernel finds it behind extension
// headers too, so that one does not hide it.
func icmp6(typ byte) match {
	return rule(protocol(unix.ETH_P_IPV6), match{
		meta(expr.MetaKeyL4PROTO, reg1), equal([]byte{unix.IPPROTO_ICMPV6}),
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1}, equal([]byte{typ}),
	})
}

// portWith loads the bridge's port and a field of the frame.
func portWith(f expr.Payload) match {
	f.DestRegister = unix.NFT_REG_2
	return match{meta(expr.MetaKeyIIFNAME, reg1), &f}
}

// field matches a field of the frame.
func field(f expr.Payload, value []byte) match {
	f.DestRegister = reg1
	return match{&f, equal(value)}
}
