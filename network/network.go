// Package network is the catalogue of a host's networks and of what is
// attached to them.
//
// A network is a CNI configuration list (conflist) in /etc/cni/net.d, so every
// CNI runtime of the host sees those that berth makes, and berth those of
// others. There is no second database: labels and options are in the same
// file. Attachments are in the state of this boot.
package network

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"time"
)

// Errors that callers tell apart.
var (
	ErrNoNetwork   = errors.New("no such network")
	ErrExists      = errors.New("network exists")
	ErrInUse       = errors.New("network is in use")
	ErrBuiltin     = errors.New("network is built in")
	ErrForeign     = errors.New("berth did not make the network")
	ErrNoContainer = errors.New("no such container")
	ErrAttached    = errors.New("container is connected already")
	ErrNotAttached = errors.New("container is not connected")
	ErrInvalid     = errors.New("not valid")
)

// Origin says where a network comes from.
type Origin string

const (
	Builtin Origin = "builtin" // exists without a file
	Berth   Origin = "berth"   // made by Create
	Foreign Origin = "cni"     // a conflist that somebody else wrote
)

// Network is one network as its conflist describes it.
type Network struct {
	Name       string
	Driver     string // type of the first plugin
	Origin     Origin
	File       string // path of the conflist; empty for a built-in one
	CNIVersion string
	Created    time.Time
	Labels     map[string]string
	Options    map[string]string // as they were given to Create
	Internal   bool
	Subnets    []Subnet
	Config     json.RawMessage // the conflist

	chain chain
}

// Subnet is one range of a network's "ipam" object.
type Subnet struct {
	Subnet     netip.Prefix
	Gateway    netip.Addr // invalid: not given
	RangeStart netip.Addr // invalid: the subnet's first
	RangeEnd   netip.Addr // invalid: the subnet's last
}

// ID is 64 hexadecimal digits that stand for the name, for tools that expect
// a network to have an id.
func (n *Network) ID() string {
	sum := sha256.Sum256([]byte(n.Name))
	return hex.EncodeToString(sum[:])
}
