// Package cluster keeps a cluster's networks, hosts, endpoints and blocks of
// addresses in etcd.
//
// All of it is below /berth/v1/, the number being the schema's version:
//
// /berth/schema holds that number too, so that an older berth finds out that
// it does not know the cluster's keys. /berth/cluster holds random text, by
// which agents tell an etcd that was made anew, or restored, from the one before.
//
//	networks/NETWORK                          a network; its VNI is in vnis/VNI too
//	vnis/VNI                                  the network that has it
//	hosts/HOST                    (leased)    a living host and its VTEP
//	dead/HOST                                 since when a host has been missing
//	endpoints/NETWORK/HOST/CONTAINER/IFNAME (leased)
//	blocks/NETWORK/PREFIX                     the host that gives the addresses out
//	claims/NETWORK/ADDRESS                    the host that has a static address
//
// What is leased ends with its host. Blocks and claims do not: an address must
// not be given again while a host that is merely out of reach uses it.
package cluster

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"encoding/json"

	"github.com/berth-net/berth/endpoint"
)

// Root is above everything but schemaKey.
const Root = "/berth/v1/"

// schema is the version of what is below Root.
const (
	schema    = 1
	schemaKey = "/berth/schema"

	identityKey = "/berth/cluster"
)

// Kinds of keys.
const (
	kindNetwork  = "networks"
	kindVNI      = "vnis"
	kindHost     = "hosts"
	kindDead     = "dead"
	kindEndpoint = "endpoints"
	kindBlock    = "blocks"
	kindClaim    = "claims"
)

// Network is a network of the cluster.
type Network struct {
	Name    string            `json:"name"`
	VNI     uint32            `json:"vni"`
	Config  json.RawMessage   `json:"config"`         // the plugin's JSON object, with vni and port
	List    json.RawMessage   `json:"list,omitempty"` // the conflist for every host
	Labels  map[string]string `json:"labels,omitempty"`
	Created time.Time         `json:"created"`

	encrypted bool // as Config says
}

// Encrypted tells whether the network's packets travel by the mesh alone.
func (n *Network) Encrypted() bool { return n.encrypted }

// UnmarshalJSON reads the configuration's part that the cluster goes by.
func (n *Network) UnmarshalJSON(raw []byte) error {
	type plain Network
	var conf struct {
		Encrypted bool `json:"encrypted"`
	}
	if err := json.Unmarshal(raw, (*plain)(n)); err != nil {
		return err
	}
	if err := json.Unmarshal(n.Config, &conf); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	n.encrypted = conf.Encrypted
	return nil
}

// Host is a living host.
type Host struct {
	Name     string     `json:"name"`
	Instance string     `json:"instance"` // of this boot: tells two hosts of one name apart
	Address  netip.Addr `json:"address"`  // VTEP

	UnderlayMTU int `json:"underlayMTU,omitempty"` // of the device that tunnels leave by

	// Of the mesh under encrypted networks; a host that does not know them
	// says none of it.
	Key    string     `json:"key,omitempty"`   // WireGuard's public key
	Port   uint16     `json:"port,omitempty"`  // UDP, of WireGuard
	Tunnel netip.Addr `json:"tunnel,omitzero"` // VTEP inside the mesh
	MTU    int        `json:"mtu,omitempty"`   // inside the mesh
}

// Endpoint is an attachment on a host.
type Endpoint struct {
	endpoint.Key
	Host      string       `json:"host"`
	Name      string       `json:"name,omitempty"`
	MAC       string       `json:"mac"`
	Addresses []netip.Addr `json:"addresses"`
	Aliases   []string     `json:"aliases,omitempty"`

	revision int64 // of etcd; the newest of two wins
}

// owner is the value of a block or a claim.
type owner struct {
	Host string `json:"host"`
}

// text is the value as etcd has it.
func (o owner) text() string {
	raw, _ := json.Marshal(o) // of a string, which never fails
	return string(raw)
}

func key(parts ...string) string { return Root + strings.Join(parts, "/") }

func networkKey(name string) string { return key(kindNetwork, name) }
func hostKey(name string) string    { return key(kindHost, name) }
func vniKey(vni uint32) string      { return key(kindVNI, strconv.FormatUint(uint64(vni), 10)) }

func endpointKey(e *Endpoint) string {
	return key(kindEndpoint, e.Network, e.Host, e.ContainerID, e.IfName)
}

// A prefix has a slash of its own, which a key's part may not have.
func blockKey(network string, p netip.Prefix) string {
	return key(kindBlock, network, strings.ReplaceAll(p.String(), "/", "_"))
}

func parseBlock(part string) (netip.Prefix, error) {
	return netip.ParsePrefix(strings.ReplaceAll(part, "_", "/"))
}

func claimKey(network string, a netip.Addr) string { return key(kindClaim, network, a.String()) }

// split takes a key apart: its kind and the rest.
func split(raw string) (kind string, rest []string, err error) {
	path, ok := strings.CutPrefix(raw, Root)
	parts := strings.Split(path, "/")
	want := map[string]int{kindNetwork: 1, kindVNI: 1, kindHost: 1, kindDead: 1, kindEndpoint: 4, kindBlock: 2, kindClaim: 2}
	if n, known := want[parts[0]]; !ok || !known || len(parts) != n+1 {
		return "", nil, fmt.Errorf("key %q is not of schema %s", raw, Root)
	}
	return parts[0], parts[1:], nil
}
