// Package firewall keeps the packet filter of the host's container networks:
// masquerade, published ports, isolation.
//
// It owns the nftables table "inet berth", and "bridge berth" where a network
// guards its ports against forged addresses; it never touches another table
// and never changes a base chain's policy. The rules are fixed; containers are
// elements of sets and maps, so what an attachment costs does not grow with
// their number, and nor does what a packet costs. docs/firewall.md shows the
// rules. The second backend writes iptables rules for hosts that need them.
//
// A driver describes its bridge by a Network and each attachment by an
// Endpoint. The package does not care how the bridge came to be.
package firewall

import (
	"errors"
	"net"
	"net/netip"

	"github.com/berth-net/berth/plugins"
)

// Network is the policy of one network. Everything on its bridge is inside,
// everything else is outside.
type Network struct {
	Bridge string

	// Internal networks have no way out and none in: nothing is forwarded
	// between them and the outside. The host itself still reaches them, by
	// published ports too.
	Internal bool

	// Isolated networks are reached from other networks of berth, and reach
	// them, by published ports only.
	Isolated bool

	// Hidden networks' own addresses are not reached from other hosts, as
	// befits one whose containers are masqueraded: published ports only.
	Hidden bool

	// NoICC forbids traffic among the network's containers, but by published
	// ports. The rules stop what is routed; what is bridged never reaches
	// them, so the driver isolates the bridge's ports besides.
	NoICC bool
}

// Endpoint is one attachment to a network.
type Endpoint struct {
	Addresses  []netip.Addr // of the container; the first of each family gets the published ports
	Masquerade bool         // traffic to the outside takes the host's address
	Ports      []plugins.PortMapping

	// Strict publishes the ports only to those whom the host's INPUT rules
	// would let in, whoever wrote them.
	Strict bool

	// Port and MAC, where Port is not empty, guard against a container that
	// uses another's addresses: frames from the bridge's port Port carry MAC
	// and, in ARP and neighbour discovery, one of Addresses.
	Port string
	MAC  net.HardwareAddr
}

// Attachment is a container on a network, for Rebuild.
type Attachment struct {
	Network  Network
	Endpoint Endpoint
}

// Firewall is a backend. Its methods act on the network namespace of the
// calling thread.
type Firewall interface {
	// Add lets the endpoint take part. Repeating it is success. Rules that
	// are missing altogether are made; elements of other endpoints that
	// somebody removed are not: Rebuild brings them back.
	Add(n *Network, e *Endpoint) error

	// Del takes the endpoint out. What is gone already is success.
	Del(n *Network, e *Endpoint) error

	// Check fails with ErrMissing and names what is not there.
	Check(n *Network, e *Endpoint) error

	// Forget removes a network, after its last endpoint.
	Forget(n *Network) error

	// Rebuild makes everything anew from all that should be, in one
	// transaction: there is no instant without rules.
	Rebuild(all []Attachment) error
}

// ErrMissing says that the kernel lacks what Add made.
var ErrMissing = errors.New("missing from the packet filter")

// first is the first address of a family.
func (e *Endpoint) first(is4 bool) (netip.Addr, bool) {
	for _, a := range e.Addresses {
		if a.Is4() == is4 {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// strict tells whether there are ports for which INPUT decides.
func (e *Endpoint) strict() bool { return e.Strict && len(e.Ports) > 0 }
