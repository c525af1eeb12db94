package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Run is the addresses of one family from First to Last, both included.
type Run struct{ First, Last netip.Addr }

func (r Run) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

func (r Run) contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

func (r Run) overlaps(o Run) bool {
	return r.First.BitLen() == o.First.BitLen() && r.First.Compare(o.Last) <= 0 && o.First.Compare(r.Last) <= 0
}

// parseRun reads "ADDRESS", "SUBNET/LENGTH" or "FIRST-LAST".
func parseRun(s string) (Run, error) {
	if first, last, ok := strings.Cut(s, "-"); ok {
		a, err := parseAddr(first)
		if err != nil {
			return Run{}, err
		}
		b, err := parseAddr(last)
		if err != nil {
			return Run{}, err
		}
		if a.BitLen() != b.BitLen() || b.Less(a) {
			return Run{}, fmt.Errorf("%q does not run upwards", s)
		}
		return Run{a, b}, nil
	}
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return Run{}, fmt.Errorf("%q is not a subnet such as 10.1.0.0/24", s)
		}
		return Run{p.Masked().Addr(), lastOf(p)}, nil
	}
	a, err := parseAddr(s)
	return Run{a, a}, err
}

// parseAddr refuses zones and IPv4 in IPv6's clothes: both name an address
// that another text names too.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	return a.Unmap(), nil
}

// lastOf is the highest address of a subnet.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		host := max(0, min(8, 8*(i+1)-p.Bits()))
		b[i] |= byte(1<<host - 1)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// join sorts runs and merges those that overlap or touch, so that each
// address lies in at most one.
func join(runs []Run) []Run {
	slices.SortFunc(runs, func(a, b Run) int { return a.First.Compare(b.First) })
	var out []Run
	for _, r := range runs {
		if n := len(out); n > 0 && out[n-1].First.BitLen() == r.First.BitLen() {
			after := out[n-1].Last.Next() // invalid at the end of the family
			if !after.IsValid() || r.First.Compare(after) <= 0 {
				if out[n-1].Last.Less(r.Last) {
					out[n-1].Last = r.Last
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// find is the run of a joined list that contains an address.
func find(runs []Run, a netip.Addr) (Run, bool) {
	i, exact := slices.BinarySearchFunc(runs, a, func(r Run, a netip.Addr) int { return r.First.Compare(a) })
	if !exact {
		i--
	}
	if i < 0 || !runs[i].contains(a) {
		return Run{}, false
	}
	return runs[i], true
}
