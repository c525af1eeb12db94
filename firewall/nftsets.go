package firewall

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/plugins"
)

// table is the name of the tables this package owns.
const table = "berth"

// setDef is a set or map of the table.
type setDef struct {
	name     string
	family   uint8 // of the table: unix.NFPROTO_INET or NFPROTO_BRIDGE
	key      []nftables.SetDatatype
	data     []nftables.SetDatatype // nil for a set
	interval bool
	timeout  bool // elements come from packets and go by themselves
	what     string
}

var (
	ifnameT  = nftables.TypeIFName
	ip4T     = nftables.TypeIPAddr
	ip6T     = nftables.TypeIP6Addr
	protoT   = nftables.TypeInetProto
	serviceT = nftables.TypeInetService
	etherT   = nftables.TypeEtherAddr
)

type types = []nftables.SetDatatype

// Sets of the table "inet berth". Networks are in the first ones, by the name
// of their bridge, containers in the others.
var (
	bridges  = &setDef{name: "bridges", family: unix.NFPROTO_INET, key: types{ifnameT}, what: "every network"}
	internal = &setDef{name: "internal", family: unix.NFPROTO_INET, key: types{ifnameT}, what: "networks without a way out or in"}
	isolated = &setDef{name: "isolated", family: unix.NFPROTO_INET, key: types{ifnameT}, what: "networks that other networks reach by published ports only"}
	hidden   = &setDef{name: "hidden", family: unix.NFPROTO_INET, key: types{ifnameT}, what: "networks that other hosts reach by published ports only"}
	inside   = &setDef{name: "inside", family: unix.NFPROTO_INET, key: types{ifnameT, ifnameT}, what: "inside one network"}
	apart    = &setDef{name: "apart", family: unix.NFPROTO_INET, key: types{ifnameT, ifnameT}, what: "inside one network that keeps its containers apart"}

	members4    = &setDef{name: "members4", family: unix.NFPROTO_INET, key: types{ip4T, ifnameT}, what: "containers and their networks"}
	members6    = &setDef{name: "members6", family: unix.NFPROTO_INET, key: types{ip6T, ifnameT}, what: "containers and their networks"}
	masquerade4 = &setDef{name: "masquerade4", family: unix.NFPROTO_INET, key: types{ip4T}, what: "containers that take the host's address outside"}
	masquerade6 = &setDef{name: "masquerade6", family: unix.NFPROTO_INET, key: types{ip6T}, what: "containers that take the host's address outside"}

	ports4       = &setDef{name: "ports4", family: unix.NFPROTO_INET, key: types{protoT, serviceT}, data: types{ip4T, serviceT}, what: "ports published on every address"}
	ports6       = &setDef{name: "ports6", family: unix.NFPROTO_INET, key: types{protoT, serviceT}, data: types{ip6T, serviceT}, what: "ports published on every address"}
	addrPorts4   = &setDef{name: "addrports4", family: unix.NFPROTO_INET, key: types{ip4T, protoT, serviceT}, data: types{ip4T, serviceT}, what: "ports published on one address"}
	addrPorts6   = &setDef{name: "addrports6", family: unix.NFPROTO_INET, key: types{ip6T, protoT, serviceT}, data: types{ip6T, serviceT}, what: "ports published on one address"}
	ranges4      = &setDef{name: "ranges4", family: unix.NFPROTO_INET, key: types{protoT, serviceT}, data: types{ip4T}, interval: true, what: "ranges published on every address"}
	ranges6      = &setDef{name: "ranges6", family: unix.NFPROTO_INET, key: types{protoT, serviceT}, data: types{ip6T}, interval: true, what: "ranges published on every address"}
	addrRanges4  = &setDef{name: "addrranges4", family: unix.NFPROTO_INET, key: types{ip4T, protoT, serviceT}, data: types{ip4T}, interval: true, what: "ranges published on one address"}
	addrRanges6  = &setDef{name: "addrranges6", family: unix.NFPROTO_INET, key: types{ip6T, protoT, serviceT}, data: types{ip6T}, interval: true, what: "ranges published on one address"}
	strictPorts  = &setDef{name: "strict", family: unix.NFPROTO_INET, key: types{protoT, serviceT}, interval: true, what: "published ports for which the host's INPUT rules decide"}
	admittedSet4 = &setDef{name: "admitted4", family: unix.NFPROTO_INET, key: types{ip4T, protoT, serviceT}, timeout: true, what: "whom INPUT has let in"}
	admittedSet6 = &setDef{name: "admitted6", family: unix.NFPROTO_INET, key: types{ip6T, protoT, serviceT}, timeout: true, what: "whom INPUT has let in"}
)

// Sets of the table "bridge berth": what a guarded port may send.
var (
	guarded  = &setDef{name: "guarded", family: unix.NFPROTO_BRIDGE, key: types{ifnameT}, what: "ports of the bridges that are held to their addresses"}
	guardMAC = &setDef{name: "macs", family: unix.NFPROTO_BRIDGE, key: types{ifnameT, etherT}, what: "their hardware addresses"}
	guardIP4 = &setDef{name: "addresses4", family: unix.NFPROTO_BRIDGE, key: types{ifnameT, ip4T}, what: "their IPv4 addresses"}
	guardIP6 = &setDef{name: "addresses6", family: unix.NFPROTO_BRIDGE, key: types{ifnameT, ip6T}, what: "their IPv6 addresses"}
)

var inetSets = []*setDef{
	bridges, internal, isolated, hidden, inside, apart,
	members4, members6, masquerade4, masquerade6,
	addrPorts4, addrPorts6, ports4, ports6, addrRanges4, addrRanges6, ranges4, ranges6,
	strictPorts, admittedSet4, admittedSet6,
}

var bridgeSets = []*setDef{guarded, guardMAC, guardIP4, guardIP6}

// typeID is the number by which nft(8) knows a type or a concatenation, and
// length its size with each part padded to a register of four bytes.
func typeID(parts types) (id uint32) {
	for _, t := range parts {
		id = id<<nftables.SetConcatTypeBits | t.GetNFTMagic()
	}
	return id
}

func length(parts types) (n uint32) {
	for _, t := range parts {
		n += (t.Bytes + 3) &^ 3
	}
	return n
}

// element is one element of a set.
type element struct {
	set       *setDef
	key, end  []byte // end closes an interval, both ends included
	data      []byte
	exclusive bool // somebody else's element of that key is an error
}

// Parts of keys, each padded to four bytes.
func keyName(name string) []byte    { return ifname(name) }
func keyAddr(a netip.Addr) []byte   { return a.AsSlice() }
func keyPort(p uint16) []byte       { return append(binary.BigEndian.AppendUint16(nil, p), 0, 0) }
func keyProto(name string) []byte   { return []byte{protocols[name], 0, 0, 0} }
func keyMAC(mac []byte) []byte      { return append(slices.Clone(mac), 0, 0) }
func concat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// protocols are those that can be published.
var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// networkElements are the elements of a network, the same at every Add.
func networkElements(n *Network) []element {
	name := keyName(n.Bridge)
	list := []element{{set: bridges, key: name}}
	add := func(yes bool, set *setDef, key []byte) {
		if yes {
			list = append(list, element{set: set, key: key})
		}
	}
	add(n.Internal, internal, name)
	add(n.Isolated, isolated, name)
	add(n.Hidden, hidden, name)
	add(!n.NoICC, inside, concat(name, name))
	add(n.NoICC, apart, concat(name, name))
	return list
}

// endpointElements are those of a container.
func endpointElements(n *Network, e *Endpoint) (list []element) {
	for _, a := range e.Addresses {
		members, masquerade := members4, masquerade4
		if a.Is6() {
			members, masquerade = members6, masquerade6
		}
		list = append(list, element{set: members, key: concat(keyAddr(a), keyName(n.Bridge))})
		if e.Masquerade {
			list = append(list, element{set: masquerade, key: keyAddr(a)})
		}
	}
	for i := range e.Ports {
		list = append(list, portElements(e, &e.Ports[i])...)
	}
	return append(list, guardElements(e)...)
}

// portElements publish one mapping in each family that both it and the
// container have.
func portElements(e *Endpoint, m *plugins.PortMapping) (list []element) {
	for _, is4 := range []bool{true, false} {
		to, ok := e.first(is4)
		if !ok || m.HostIP.IsValid() && m.HostIP.Is4() != is4 {
			continue
		}
		list = append(list, mappingElements(m, to)...)
	}
	if e.Strict && len(list) > 0 {
		proto, last := keyProto(m.Protocol), m.HostPort+count(m)-1
		list = append(list, element{set: strictPorts, key: concat(proto, keyPort(m.HostPort)), end: concat(proto, keyPort(last))})
	}
	return list
}

// mappingElements are one interval where the container's ports are the
// host's, and one element a port where they are shifted: a map's value can
// name one port, not an offset.
func mappingElements(m *plugins.PortMapping, to netip.Addr) (list []element) {
	oneAddress := hasAddress(m)
	single, interval := portSets(to.Is4(), oneAddress)
	key := func(p uint16) []byte {
		k := concat(keyProto(m.Protocol), keyPort(p))
		if oneAddress {
			k = concat(keyAddr(m.HostIP), k)
		}
		return k
	}
	n := count(m)
	if n > 1 && m.HostPort == m.ContainerPort {
		return []element{{set: interval, key: key(m.HostPort), end: key(m.HostPort + n - 1), data: keyAddr(to), exclusive: true}}
	}
	for i := range n {
		list = append(list, element{set: single, key: key(m.HostPort + i), data: concat(keyAddr(to), keyPort(m.ContainerPort+i)), exclusive: true})
	}
	return list
}

func portSets(is4, oneAddress bool) (single, interval *setDef) {
	switch {
	case is4 && oneAddress:
		return addrPorts4, addrRanges4
	case is4:
		return ports4, ranges4
	case oneAddress:
		return addrPorts6, addrRanges6
	}
	return ports6, ranges6
}

// hasAddress tells whether the port is published on one address of the host.
func hasAddress(m *plugins.PortMapping) bool {
	return m.HostIP.IsValid() && !m.HostIP.IsUnspecified()
}

// count is the length of a mapping's range.
func count(m *plugins.PortMapping) uint16 { return max(1, m.Count) }

func guardElements(e *Endpoint) (list []element) {
	if e.Port == "" {
		return nil
	}
	port := keyName(e.Port)
	list = append(list, element{set: guarded, key: port}, element{set: guardMAC, key: concat(port, keyMAC(e.MAC))})
	for _, a := range e.Addresses {
		set := guardIP4
		if a.Is6() {
			set = guardIP6
		}
		list = append(list, element{set: set, key: concat(port, keyAddr(a))})
	}
	return append(list, element{set: guardIP6, key: concat(port, keyAddr(linkLocal(e.MAC)))})
}

// linkLocal is the address that IPv6 makes of a MAC (RFC 4291, appendix A).
func linkLocal(mac []byte) netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 0x02, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.AddrFrom16(a)
}
