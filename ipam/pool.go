package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrPoolExhausted says that every subnet of every pool is taken.
var ErrPoolExhausted = errors.New("no free subnet")

// Pool is where subnets for networks that ask for none are carved from: those
// of length Bits within Base.
type Pool struct {
	Base netip.Prefix
	Bits int
}

func (p Pool) String() string { return p.Base.String() + ":" + strconv.Itoa(p.Bits) }

// ParsePool reads "BASE:BITS", for example "10.210.0.0/16:24" or
// "fd00:be47::/48:64".
func ParsePool(s string) (Pool, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !strings.Contains(s[:i], "/") {
		return Pool{}, fmt.Errorf("parse pool %q: write it as 10.210.0.0/16:24", s)
	}
	base, err := parseSubnet(s[:i])
	if err != nil {
		return Pool{}, fmt.Errorf("parse pool %q: %w", s, err)
	}
	bits, err := strconv.Atoi(s[i+1:])
	if err != nil || bits < base.Bits() || bits > base.Addr().BitLen() {
		return Pool{}, fmt.Errorf("parse pool %q: subnets in %s have a length of %d to %d", s, base, base.Bits(), base.Addr().BitLen())
	}
	return Pool{base, bits}, nil
}

// Carve is the lowest subnet, of the first pool that has one, that overlaps
// none of the taken: the networks' subnets and the host's routes and
// addresses. Default routes take nothing. It fails with ErrPoolExhausted and
// names the pools. Its cost grows with taken, not with the pools.
func Carve(pools []Pool, taken []netip.Prefix) (netip.Prefix, error) {
	var names []string
	for _, p := range pools {
		if subnet, ok := p.carve(taken); ok {
			return subnet, nil
		}
		names = append(names, p.String())
	}
	return netip.Prefix{}, fmt.Errorf("%w: every subnet of the pool %s overlaps a network, a route or an address of this host: "+
		"name a subnet, or remove networks", ErrPoolExhausted, strings.Join(names, ", "))
}

func (p Pool) carve(taken []netip.Prefix) (netip.Prefix, bool) {
	at := netip.PrefixFrom(p.Base.Addr(), p.Bits)
	for {
		over, overlaps := overlapping(at, taken)
		if !overlaps {
			return at, true
		}
		// The next subnet after the larger of the two.
		last := lastOf(at)
		if end := lastOf(over); last.Less(end) {
			last = end
		}
		next := last.Next()
		if !next.IsValid() || !p.Base.Contains(next) {
			return netip.Prefix{}, false
		}
		at = netip.PrefixFrom(next, p.Bits)
	}
}

func overlapping(p netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if t.Bits() > 0 && t.Overlaps(p) {
			return t.Masked(), true
		}
	}
	return netip.Prefix{}, false
}
