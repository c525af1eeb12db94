// Package ipam leases addresses from a network's ranges, in the state of this
// boot.
//
// A lease belongs to (network, container, ifname): asking again gives the
// same addresses.
package ipam

import (
	"errors"
	"net"
	"net/netip"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// Errors that callers tell apart.
var (
	ErrExhausted = errors.New("no free address")
	ErrInUse     = errors.New("address is leased to another endpoint")
)

// Config is the "ipam" object of a network's configuration, decoded and
// validated by Parse.
type Config struct {
	Type   string
	Ranges []RangeSet // one address is leased from each set
	Routes []plugins.Route
	DNS    plugins.DNS
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
}

// Request asks for one address of each range set.
type Request struct {
	Key    endpoint.Key
	Static []netip.Prefix // each must lie in a range; a set without one gets a free address
	MAC    net.HardwareAddr
	Name   string // of the container, for reservations
}

// Address is a leased address with its subnet's length and gateway.
type Address struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
}

// Parse decodes the "ipam" object of a plugin's configuration and validates
// it. An error names the key that is wrong and carries plugins.CodeInvalidConfig.
func Parse(raw []byte) (*Config, error) { return nil, errors.ErrUnsupported }

// Lease gives req.Key one address of each range set, or those that it already
// has. It fails with ErrExhausted or ErrInUse, and then leases nothing.
func Lease(tx *state.Tx, c *Config, req Request) ([]Address, error) {
	return nil, errors.ErrUnsupported
}

// Release frees every address of the key. None is success.
func Release(tx *state.Tx, key endpoint.Key) error { return errors.ErrUnsupported }

// Leased lists the addresses of the key.
func Leased(tx *state.Tx, key endpoint.Key) ([]netip.Addr, error) {
	return nil, errors.ErrUnsupported
}
