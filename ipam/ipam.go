// Package ipam leases addresses from a network's ranges, in the state of this
// boot.
//
// A lease belongs to (network, container, ifname): asking again gives the
// same addresses. An address that was given back is the last to be given
// again. Allocation and release take O(log n) steps in the number of leases,
// and nothing is ever enumerated, so a range may be of any size.
package ipam

import (
	"errors"
	"net"
	"net/netip"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
)

// Errors that callers tell apart.
var (
	ErrExhausted  = errors.New("no free address")
	ErrInUse      = errors.New("address is leased to another endpoint")
	ErrOutOfRange = errors.New("address is not to be had from the ranges")
)

// Config is the "ipam" object of a network's configuration, decoded and
// validated by Parse.
type Config struct {
	Type         string
	Ranges       []RangeSet // one address is leased from each set
	Routes       []plugins.Route
	DNS          plugins.DNS // from the file that "resolvConf" names
	Reservations []Reservation
	Probe        bool     // ask the segment whether an address is in use before using it
	Unused       []string // keys that are accepted and mean nothing here
}

// Embedded tells whether the addresses come from this package rather than
// from another IPAM plugin.
func (c *Config) Embedded() bool { return c.Type == "berth-ipam" }

// RangeSet is tried range by range until one has a free address.
type RangeSet []Range

// Range is a run of addresses within a subnet, both ends included.
type Range struct {
	Subnet     netip.Prefix
	Start, End netip.Addr
	Gateway    netip.Addr // invalid: none

	// Holes are the runs that are not given to who asks for any address: the
	// gateway, exclusions and reservations, in order and apart.
	Holes []Run
	// Excluded are the runs among them that nobody gets.
	Excluded []Run
}

// Reservation keeps an address for the container with the name or the MAC.
type Reservation struct {
	Address netip.Addr
	Name    string
	MAC     net.HardwareAddr
}

// Request asks for one address of each range set.
type Request struct {
	Key    endpoint.Key
	Static []netip.Prefix // each must lie in a range; a set without one gets a free address
	MAC    net.HardwareAddr
	Name   string       // of the container, for reservations
	Avoid  []netip.Addr // found in use on the segment: given up, and not given

	// NetNS and NetNSID tell when a lease that has no endpoint's record is
	// dead. They may be empty.
	NetNS   string
	NetNSID netns.ID
}

// Address is a leased address with its subnet's length and gateway.
type Address struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
}
