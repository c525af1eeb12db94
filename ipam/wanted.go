package ipam

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// wanted is, for each range set, the address that the request must get:
// asked for, or reserved for it; invalid where any will do.
func (c *Config) wanted(req *Request) ([]netip.Addr, error) {
	wanted := make([]netip.Addr, len(c.Ranges))
	for _, p := range req.Static {
		a := p.Addr().Unmap()
		i, err := c.setFor(a, wanted)
		if err != nil {
			return nil, err
		}
		if i < 0 {
			continue
		}
		if err := c.allows(c.Ranges[i], a, req); err != nil {
			return nil, err
		}
		wanted[i] = a
	}
	for i := range c.Ranges {
		if !wanted[i].IsValid() {
			wanted[i] = c.reservedIn(i, req)
		}
		if req.refuses(wanted[i]) {
			return nil, fmt.Errorf("%w: another machine of the segment has %s, which was asked for or is reserved", ErrInUse, wanted[i])
		}
	}
	return wanted, nil
}

// setFor is the set whose range has a requested address; -1 when the set has
// the very address already, as when CNI_ARGS and a capability name it both.
func (c *Config) setFor(a netip.Addr, wanted []netip.Addr) (int, error) {
	i := c.setOf(a)
	switch {
	case i < 0:
		return 0, fmt.Errorf("%w: %s is in none of %s", ErrOutOfRange, a, c.rangeNames())
	case wanted[i] == a:
		return -1, nil
	case wanted[i].IsValid():
		return 0, fmt.Errorf("%w: both %s and %s are asked for, and %s gives one address", ErrOutOfRange, wanted[i], a, c.Ranges[i])
	}
	return i, nil
}

// setOf is the set that gives an address, or else the first with a subnet
// that has it: sets may share a subnet. -1 when there is none.
func (c *Config) setOf(a netip.Addr) int {
	near := -1
	for i, set := range c.Ranges {
		r := set.subnetOf(a)
		if r != nil && r.run().contains(a) {
			return i
		}
		if r != nil && near < 0 {
			near = i
		}
	}
	return near
}

// allows tells whether who asks may have an address of the set.
func (c *Config) allows(set RangeSet, a netip.Addr, req *Request) error {
	r := set.subnetOf(a)
	if r == nil {
		return fmt.Errorf("%w: %s is not in %s", ErrOutOfRange, a, set)
	}
	if a == r.Gateway {
		return fmt.Errorf("%w: %s is the gateway of %s", ErrOutOfRange, a, r.Subnet)
	}
	if _, excluded := find(r.Excluded, a); excluded {
		return fmt.Errorf("%w: %s is excluded", ErrOutOfRange, a)
	}
	for _, x := range c.Reservations {
		if x.Address == a {
			if x.isFor(req) {
				return nil
			}
			return fmt.Errorf("%w: %s is reserved for %s", ErrInUse, a, x.who())
		}
	}
	if !r.run().contains(a) {
		return fmt.Errorf("%w: %s is not in %s", ErrOutOfRange, a, r)
	}
	return nil
}

func (c *Config) reservedIn(i int, req *Request) netip.Addr {
	for _, x := range c.Reservations {
		if x.isFor(req) && c.setOf(x.Address) == i {
			return x.Address
		}
	}
	return netip.Addr{}
}

func (x *Reservation) isFor(req *Request) bool {
	return x.Name != "" && x.Name == req.Name || x.MAC != nil && bytes.Equal(x.MAC, req.MAC)
}

func (x *Reservation) who() string {
	if x.Name != "" {
		return "container " + x.Name
	}
	return "MAC " + x.MAC.String()
}

// subnetOf is the range that an address belongs to: the one that contains it,
// or else one in whose subnet it lies.
func (s RangeSet) subnetOf(a netip.Addr) *Range {
	for i := range s {
		if s[i].run().contains(a) {
			return &s[i]
		}
	}
	for i := range s {
		if s[i].Subnet.Contains(a) {
			return &s[i]
		}
	}
	return nil
}

func (s RangeSet) String() string {
	names := make([]string, len(s))
	for i, r := range s {
		names[i] = r.String()
	}
	return strings.Join(names, ", ")
}

func (c *Config) rangeNames() string {
	names := make([]string, len(c.Ranges))
	for i, set := range c.Ranges {
		names[i] = set.String()
	}
	return strings.Join(names, "; ")
}
