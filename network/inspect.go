package network

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/table"
)

// Inspection is a network with what is attached to it. The JSON keys are
// Docker's where Docker has the thing.
type Inspection struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string // "local", or "global" where the cluster has it
	Driver     string
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       IPAM
	Internal   bool
	Attachable bool // always: any running container can be connected
	Ingress    bool
	Containers map[string]InspectedEndpoint // by container id
	Options    map[string]string
	Labels     map[string]string
	Peers      []InspectedPeer `json:",omitempty"` // the cluster's other hosts
	Warnings   []string        `json:",omitempty"` // what hinders it on this host now

	Cluster    *InspectedCluster `json:",omitempty"` // nil: the network is this host's alone
	Origin     Origin
	File       string
	CNIVersion string
	Plugins    []string // types, in the order of the chain
}

// IPAM is where a network's addresses come from.
type IPAM struct {
	Driver string
	Config []InspectedRange
}

// InspectedRange is one range and how much of it is in use: on this host, or,
// where the network is the cluster's, on all of them.
type InspectedRange struct {
	Subnet     netip.Prefix
	RangeStart netip.Addr `json:",omitzero"`
	RangeEnd   netip.Addr `json:",omitzero"`
	Gateway    netip.Addr `json:",omitzero"`
	Used       int
	Free       *ipam.Count `json:",omitempty"` // nil where another IPAM than ours gives the addresses
}

// InspectedEndpoint is one attachment.
type InspectedEndpoint struct {
	Name        string
	EndpointID  string
	MacAddress  string
	IPv4Address string // CIDR notation, as with Docker; empty: none
	IPv6Address string

	IfName    string
	Addresses []netip.Prefix
	NetNS     string
	HostIf    string                `json:",omitempty"` // the device on the host
	Aliases   []string              `json:",omitempty"`
	Ports     []plugins.PortMapping `json:",omitempty"` // published
	Owner     string                // who attached: "berth", "cni"
	Warnings  []string              `json:",omitempty"` // of its ADD
	State     string                // "ready", "intent", or "dead" where the container is gone
}

// Inspect describes a network.
func (c *Catalogue) Inspect(name string) (*Inspection, error) {
	n, err := c.Get(name)
	if err != nil {
		return nil, err
	}
	records, err := c.Endpoints(n.Name)
	if err != nil {
		return nil, err
	}
	i := &Inspection{
		Name: n.Name, ID: n.ID(), Created: n.Created, Scope: n.Scope(), Driver: n.Driver,
		Internal: n.Internal, Attachable: true, Containers: map[string]InspectedEndpoint{},
		Options: orEmpty(n.Options), Labels: orEmpty(n.Labels),
		Origin: n.Origin, File: n.File, CNIVersion: n.CNIVersion,
	}
	links, err := n.chain.links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		i.Plugins = append(i.Plugins, l.Type)
		i.Warnings = append(i.Warnings, c.warnings(n, l)...)
	}
	for _, r := range records {
		i.Containers[r.ContainerID] = inspectEndpoint(r)
	}
	i.IPAM, err = c.inspectIPAM(n, records)
	for _, r := range i.IPAM.Config {
		i.EnableIPv4 = i.EnableIPv4 || r.Subnet.Addr().Is4()
		i.EnableIPv6 = i.EnableIPv6 || r.Subnet.Addr().Is6()
	}
	return i, err
}

// warner is a driver that knows what hinders its networks though an Add
// succeeds.
type warner interface {
	Warnings(net *plugins.Network) ([]string, error)
}

func (c *Catalogue) warnings(n *Network, l link) []string {
	if !l.ours() {
		return nil
	}
	d, ok := table.Lookup(l.Type, c.store).(warner)
	if !ok {
		return nil
	}
	list, err := d.Warnings(&plugins.Network{Name: n.Name, Type: l.Type, CNIVersion: n.CNIVersion, Config: l.raw, Path: c.path})
	if err != nil {
		list = append(list, fmt.Sprintf("not known whether the host's rules let it work: %v", err))
	}
	return list
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func inspectEndpoint(r *endpoint.Record) InspectedEndpoint {
	sum := sha256.Sum256([]byte(r.Key.String()))
	e := InspectedEndpoint{
		Name: r.Name, EndpointID: hex.EncodeToString(sum[:]), IfName: r.IfName, Addresses: r.Addresses,
		NetNS: r.NetNS, HostIf: r.HostIfName, Aliases: r.Aliases, Ports: r.Ports, Owner: r.Owner, State: string(r.Phase),
	}
	if r.Result != nil {
		e.Warnings = r.Result.Warnings
	}
	if len(r.MAC) > 0 {
		e.MacAddress = r.MAC.String()
	}
	if !r.Alive() {
		e.State = "dead"
	}
	for _, p := range r.Addresses {
		if p.Addr().Is4() && e.IPv4Address == "" {
			e.IPv4Address = p.String()
		}
		if p.Addr().Is6() && e.IPv6Address == "" {
			e.IPv6Address = p.String()
		}
	}
	return e
}

// inspectIPAM describes the ranges as the IPAM itself reads them, where it is
// ours, and as they are written where it is another's.
func (c *Catalogue) inspectIPAM(n *Network, records []*endpoint.Record) (IPAM, error) {
	info := IPAM{Driver: n.ipamType()}
	usage, err := c.Usage(n.Name)
	if err != nil {
		return info, err
	}
	for _, u := range usage {
		info.Config = append(info.Config, InspectedRange{
			Subnet: u.Subnet, RangeStart: u.Start, RangeEnd: u.End, Gateway: u.Gateway, Used: u.Used, Free: &u.Free,
		})
	}
	if usage != nil {
		return info, nil
	}
	for _, s := range n.Subnets {
		r := InspectedRange{Subnet: s.Subnet, RangeStart: s.RangeStart, RangeEnd: s.RangeEnd, Gateway: s.Gateway}
		for _, rec := range records {
			for _, p := range rec.Addresses {
				if s.Subnet.Contains(p.Addr()) {
					r.Used++
				}
			}
		}
		info.Config = append(info.Config, r)
	}
	return info, nil
}

func (n *Network) ipamType() string {
	var conf struct {
		IPAM struct {
			Type string `json:"type"`
		} `json:"ipam"`
	}
	if json.Unmarshal(n.chain.Plugins[0], &conf) != nil {
		return ""
	}
	return conf.IPAM.Type
}
