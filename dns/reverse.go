package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parseReverse reads the address in a name below in-addr.arpa (RFC 1035,
// section 3.5) or ip6.arpa (RFC 3596, section 2.5). The name of a part of an
// address space is none.
func parseReverse(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return parseOctets(strings.Split(rest, "."))
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		return parseNibbles(strings.Split(rest, "."))
	}
	return netip.Addr{}, false
}

func parseOctets(labels []string) (addr netip.Addr, ok bool) {
	if len(labels) != 4 {
		return addr, false
	}
	slices.Reverse(labels)
	addr, err := netip.ParseAddr(strings.Join(labels, "."))
	return addr, err == nil && addr.Is4()
}

func parseNibbles(labels []string) (addr netip.Addr, ok bool) {
	if len(labels) != 32 {
		return addr, false
	}
	var b [16]byte
	for i, label := range labels {
		n, err := strconv.ParseUint(label, 16, 4)
		if err != nil || len(label) != 1 {
			return addr, false
		}
		at := 31 - i // the last nibble comes first
		b[at/2] |= byte(n) << (4 * (1 - at%2))
	}
	return netip.AddrFrom16(b), true
}
