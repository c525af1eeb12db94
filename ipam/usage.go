package ipam

import (
	"math/big"
	"net/netip"
)

// Usage tells how full a range is. An IPv6 range has more addresses than fit
// into 64 bits.
type Usage struct {
	Subnet  netip.Prefix `json:"subnet"`
	Start   netip.Addr   `json:"rangeStart"`
	End     netip.Addr   `json:"rangeEnd"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Size    Count        `json:"size"` // without gateway, exclusions and reservations
	Used    int          `json:"used"` // leased now
	Free    Count        `json:"free"`
	Taken   []Conflict   `json:"taken,omitempty"` // by other machines of the segment
}

// Usages is the usage of each range, in the configuration's order, by what is
// held of the network and what other machines were found to have.
func Usages(c *Config, held []Holding, taken []Conflict) []Usage {
	var all []Usage
	for _, set := range c.Ranges {
		for i := range set {
			u := set[i].usage(held)
			for _, t := range taken {
				if set[i].run().contains(t.Address) {
					u.Taken = append(u.Taken, t)
				}
			}
			all = append(all, u)
		}
	}
	return all
}

func (r *Range) usage(held []Holding) Usage {
	u := Usage{Subnet: r.Subnet, Start: r.Start, End: r.End, Gateway: r.Gateway, Size: Count{r.run().size()}}
	for _, hole := range r.Holes {
		if part, ok := hole.within(r.run()); ok {
			u.Size.Sub(u.Size.Int, part.size())
		}
	}
	reserved := 0
	for _, h := range held {
		for _, a := range h.Addresses {
			if !r.run().contains(a) {
				continue
			}
			u.Used++
			if _, closed := find(r.Holes, a); closed {
				reserved++
			}
		}
	}
	u.Free = u.Size.Minus(u.Used - reserved)
	return u
}

// size is how many addresses a run has.
func (r Run) size() *big.Int {
	first, last := new(big.Int).SetBytes(r.First.AsSlice()), new(big.Int).SetBytes(r.Last.AsSlice())
	return last.Sub(last, first).Add(last, big.NewInt(1))
}

// within is the part of r that o has too.
func (r Run) within(o Run) (Run, bool) {
	if !r.overlaps(o) {
		return Run{}, false
	}
	if r.First.Less(o.First) {
		r.First = o.First
	}
	if o.Last.Less(r.Last) {
		r.Last = o.Last
	}
	return r, true
}
