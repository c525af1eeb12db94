// Package api is what a driver or the command line says to the agent of this
// host, and how: JSON requests and as many JSON answers, a line each and in the
// same order, on a connection of a unix socket in the directory of this boot.
//
// The package is below the drivers, so it knows nothing of the agent's inside;
// in particular a plugin gets by without etcd's client.
package api

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
)

// Version of the requests and answers. An agent refuses another.
const Version = 2

// Request is what a client sends. Exactly one of the pointers is set.
type Request struct {
	Version int `json:"version"`

	Attach        *Attach        `json:"attach,omitempty"`
	More          *More          `json:"more,omitempty"`
	Coming        *Endpoint      `json:"coming,omitempty"`
	Changed       *Changed       `json:"changed,omitempty"`
	Names         *Names         `json:"names,omitempty"`
	Lookup        *Lookup        `json:"lookup,omitempty"`
	Status        *struct{}      `json:"status,omitempty"`
	CreateNetwork *CreateNetwork `json:"createNetwork,omitempty"`
	RemoveNetwork *NetworkName   `json:"removeNetwork,omitempty"`
	Inspect       *NetworkName   `json:"inspect,omitempty"`
	Forget        *Forget        `json:"forget,omitempty"`
	RotateKey     *struct{}      `json:"rotateKey,omitempty"`
}

// Answer is what the agent sends back.
type Answer struct {
	Error *Error `json:"error,omitempty"`

	Segment *Segment     `json:"segment,omitempty"`
	Served  *Served      `json:"served,omitempty"`
	Names   *plugins.DNS `json:"names,omitempty"`
	Found   []Endpoint   `json:"found,omitempty"`
	Status  *Status      `json:"status,omitempty"`
	Network *Network     `json:"network,omitempty"`
	Freed   int          `json:"freed,omitempty"` // blocks and static addresses
}

// CodeInUse is the code of a network that cannot be removed because of an
// endpoint somewhere in the cluster. Codes from 100 on are a plugin's own.
const CodeInUse plugins.Code = 100

// Error carries the code that a CNI caller is told.
type Error struct {
	Code    uint   `json:"code"`
	Message string `json:"message"`
}

// Attach asks how this host joins a network. A network that the cluster does
// not know is created from the configuration, so that one conflist on every
// node is enough.
type Attach struct {
	Key    endpoint.Key    `json:"key"`
	Config json.RawMessage `json:"config"` // the plugin's JSON object
	Static []netip.Addr    `json:"static,omitempty"`
}

// More asks for further addresses after those of a Segment were used up.
type More struct {
	Key    endpoint.Key    `json:"key"`
	Config json.RawMessage `json:"config"`
	Have   []netip.Prefix  `json:"have"` // blocks that the caller was given
}

// Segment is this host's place in a network.
type Segment struct {
	VNI       uint32          `json:"vni"`
	Port      uint16          `json:"port"`
	Local     netip.Addr      `json:"local"`
	Underlay  string          `json:"underlay,omitempty"` // device to bind to
	MTU       int             `json:"mtu"`
	Encrypted bool            `json:"encrypted,omitempty"`
	IPAM      json.RawMessage `json:"ipam"` // with the ranges of this host's blocks
	Blocks    []netip.Prefix  `json:"blocks"`
}

// Changed tells that an endpoint's record is ready or gone. The agent answers
// when this host can reach what the cluster already has, and etcd has been
// told, or does not answer at once.
//
// Before it, Coming tells of an endpoint whose devices are still being made:
// the other hosts then know it by the time it is there. Else a first packet
// would be lost, and be sent again after a second. The agent answers when etcd
// has been told, or does not answer at once, and with Served: where those are
// the devices that the endpoint is on, Changed has nothing to add for one that
// becomes ready.
type Changed struct {
	Key endpoint.Key `json:"key"`
}

// Served are the devices of a network for which the agent keeps the way to the
// other hosts' endpoints. None where there are no such devices yet, or where
// the agent must hear of each endpoint that is ready: of encrypted networks.
type Served struct {
	Bridge int `json:"bridge"` // index
	VXLAN  int `json:"vxlan"`
}

// Names asks for a resolver in the namespace of an endpoint that has just been
// made. The answer is what its container's resolv.conf should say.
type Names struct {
	Key endpoint.Key `json:"key"`
}

// Lookup asks for the endpoints that other hosts have on a network, by a name
// in small letters or by an address.
type Lookup struct {
	Network string     `json:"network"`
	Name    string     `json:"name,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
}

// NetworkName names a network of the cluster.
type NetworkName struct {
	Name string `json:"name"`
}

// CreateNetwork makes a network on every host. VNI 0 has one allocated.
type CreateNetwork struct {
	Name   string            `json:"name"`
	Config json.RawMessage   `json:"config"`         // the plugin's JSON object
	List   json.RawMessage   `json:"list,omitempty"` // the conflist for every host
	Labels map[string]string `json:"labels,omitempty"`
}

// Forget says that a host is dead for good: its addresses may be given again.
type Forget struct {
	Host string `json:"host"`
}

// Network is what the cluster knows of a network.
type Network struct {
	Name      string            `json:"name"`
	VNI       uint32            `json:"vni"`
	Encrypted bool              `json:"encrypted,omitempty"`
	Config    json.RawMessage   `json:"config"`
	Labels    map[string]string `json:"labels,omitempty"`
	Created   time.Time         `json:"created"`
	Host      string            `json:"host"`      // that was asked
	Endpoints []Endpoint        `json:"endpoints"` // of all hosts
	Peers     []Peer            `json:"peers"`     // the other living hosts
	Blocks    []Block           `json:"blocks"`
}

// Endpoint is an attachment somewhere in the cluster.
type Endpoint struct {
	Network     string       `json:"network,omitempty"`
	Host        string       `json:"host"`
	ContainerID string       `json:"container"`
	IfName      string       `json:"ifname"`
	Name        string       `json:"name,omitempty"`
	MAC         string       `json:"mac"`
	Addresses   []netip.Addr `json:"addresses"`
	Aliases     []string     `json:"aliases,omitempty"`
}

// Block is a run of addresses that a host gives out by itself.
type Block struct {
	Prefix netip.Prefix `json:"prefix"`
	Host   string       `json:"host"`
}

// Status is how the agent does.
type Status struct {
	Host     string          `json:"host"`
	Address  string          `json:"address,omitempty"` // VTEP
	Started  time.Time       `json:"started"`
	Cluster  *Cluster        `json:"cluster,omitempty"` // nil: one host
	Mesh     *Mesh           `json:"mesh,omitempty"`    // nil: no encrypted network has a container here
	Networks []NetworkStatus `json:"networks"`          // that have endpoints here
	Warnings []string        `json:"warnings"`          // what is the matter now
	Names    *NamesStatus    `json:"names,omitempty"`   // nil: the agent serves none
	Errors   []Problem       `json:"errors"`            // the last ones, newest first
}

// NamesStatus is how the resolvers do that the agent has opened.
type NamesStatus struct {
	Containers int    `json:"containers"` // that have one
	Questions  uint64 `json:"questions"`  // since the agent's start
	Forwarded  uint64 `json:"forwarded"`  // of them, to the host's nameservers
	Failed     uint64 `json:"failed"`     // of those
}

// NetworkStatus is a network that the agent serves.
type NetworkStatus struct {
	Name      string `json:"name"`
	VNI       uint32 `json:"vni"`
	Here      int    `json:"here"`      // endpoints on this host
	Elsewhere int    `json:"elsewhere"` // on the others
}

// Cluster is the agent's view of the others.
type Cluster struct {
	Servers   []string      `json:"servers"`
	Connected bool          `json:"connected"`
	Error     string        `json:"error,omitempty"` // why not
	LastSeen  time.Time     `json:"lastSeen"`        // when etcd last answered
	Revision  int64         `json:"revision"`        // that this host has applied
	Behind    int           `json:"behind"`          // keys that changed since
	RoundTrip time.Duration `json:"roundTrip"`       // of a request to etcd, in nanoseconds
	Peers     []Peer        `json:"peers"`
}

// Peer is another host.
type Peer struct {
	Host      string     `json:"host"`
	Address   netip.Addr `json:"address"`
	Endpoints int        `json:"endpoints"` // of the network asked for, or of all
	MTU       int        `json:"mtu,omitempty"`
	VXLAN     string     `json:"vxlan,omitempty"` // how packets get there; empty: no network is shared
}

// Implementations of WireGuard, and the UDP port that other hosts send to
// where none is configured.
const (
	MeshKernel    = "kernel"
	MeshUserspace = "userspace"
	MeshPort      = 51840
)

// Mesh is this host's end of the tunnels that encrypted networks travel by.
type Mesh struct {
	Implementation string     `json:"implementation"` // MeshKernel or MeshUserspace
	Device         string     `json:"device"`
	Address        netip.Addr `json:"address"` // inside the tunnels
	Port           uint16     `json:"port"`    // UDP
	Key            string     `json:"key"`     // public
	Peers          []MeshPeer `json:"peers"`
}

// MeshPeer is a host that shares an encrypted network with this one.
type MeshPeer struct {
	Host      string         `json:"host"`
	Key       string         `json:"key"`
	Endpoint  netip.AddrPort `json:"endpoint,omitzero"`  // where it was heard last
	Handshake time.Time      `json:"handshake,omitzero"` // the last; none yet
	Received  int64          `json:"received"`           // bytes
	Sent      int64          `json:"sent"`
}

// What VXLAN of a peer can say.
const (
	VXLANGood      = "good"
	VXLANSilent    = "no answer"
	VXLANChecksums = "checksums are broken"
)

// Problem is something that went wrong.
type Problem struct {
	Time    time.Time `json:"time"`
	What    string    `json:"what"`
	Message string    `json:"message"`
}
