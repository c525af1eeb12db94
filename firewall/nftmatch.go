package firewall

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// mayAccept tells whether the rule might accept, or hand on to another chain,
// the first packet of a connection that comes in or leaves by the device,
// whatever its protocol and port. It is false only where the rule surely does
// not.
func (r *nftRule) mayAccept(device string, ways []uint32) bool {
	return r.decides() && slices.ContainsFunc(ways, func(way uint32) bool { return !r.excludes(device, way) })
}

// excludes tells whether a condition of the rule is false of such a packet; way
// is the key of the interface that the device is.
func (r *nftRule) excludes(device string, way uint32) bool {
	var loaded nftPart // what the next condition is about
	for i := range r.parts {
		p := &r.parts[i]
		ofState := loaded.isKey("ct", unix.NFTA_CT_KEY, unix.NFT_CT_STATE)
		switch p.name {
		case "meta", "ct", "payload":
			loaded = *p
			if p.isNarrow() {
				return true
			}
		case "bitwise":
			if ofState && !p.keepsNew() {
				return true
			}
		case "cmp":
			if p.excludes(&loaded, device, way) {
				return true
			}
		case "lookup":
			// A map from states to verdicts, as the examples of nft(8) have it,
			// accepts what is known already.
			if ofState {
				return true
			}
		}
	}
	return false
}

// excludes, of a comparison, is true of another device and of the loopback. A
// name without its end is a prefix.
func (p *nftPart) excludes(loaded *nftPart, device string, way uint32) bool {
	value := attribute(attribute(p.data, unix.NFTA_CMP_DATA), unix.NFTA_DATA_VALUE)
	equal := be32(attribute(p.data, unix.NFTA_CMP_OP)) == unix.NFT_CMP_EQ
	switch {
	case loaded.isMeta(unix.NFT_META_IIF), loaded.isMeta(unix.NFT_META_OIF):
		return equal && bytes.Equal(value, binary.NativeEndian.AppendUint32(nil, 1))
	case loaded.isMeta(way):
		return bytes.HasPrefix(ifname(device), value) != equal
	case loaded.isMeta(unix.NFT_META_IIFNAME), loaded.isMeta(unix.NFT_META_OIFNAME):
		return equal && bytes.Equal(value, ifname("lo"))
	}
	return false
}

// decides tells a rule that ends in an accept or a jump, as far as is known.
func (r *nftRule) decides() bool {
	for i := range r.parts {
		switch p := &r.parts[i]; p.name {
		case "immediate":
			if _, ok := p.verdict(); ok && !p.stops() {
				return true
			}
		case "lookup", "queue":
			return true
		case "target":
			return !p.stops()
		}
	}
	return false
}

// isNarrow tells a condition on the protocol or its header: what passes by it
// is not the network's traffic in general.
func (p *nftPart) isNarrow() bool {
	switch p.name {
	case "meta":
		return p.isMeta(unix.NFT_META_L4PROTO)
	case "payload":
		base, offset := be32(attribute(p.data, unix.NFTA_PAYLOAD_BASE)), be32(attribute(p.data, unix.NFTA_PAYLOAD_OFFSET))
		return base == unix.NFT_PAYLOAD_TRANSPORT_HEADER ||
			base == unix.NFT_PAYLOAD_NETWORK_HEADER && (offset == 9 || offset == 6) // protocol of IPv4, next header of IPv6
	}
	return false
}

func (p *nftPart) isKey(name string, attr uint16, key uint32) bool {
	return p.name == name && be32(attribute(p.data, attr)) == key
}

// keepsNew tells a mask that has the bit of a new connection.
func (p *nftPart) keepsNew() bool {
	mask := attribute(attribute(p.data, unix.NFTA_BITWISE_MASK), unix.NFTA_DATA_VALUE)
	return len(mask) < 4 || binary.NativeEndian.Uint32(mask)&expr.CtStateBitNEW != 0
}

func (p *nftPart) isMeta(key uint32) bool { return p.isKey("meta", unix.NFTA_META_KEY, key) }

func be32(value []byte) uint32 {
	if len(value) != 4 {
		return ^uint32(0)
	}
	return binary.BigEndian.Uint32(value)
}
