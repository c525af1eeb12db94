package network

import (
	"encoding/json"
	"net/netip"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/plugins/overlay"
)

// InspectedPeer is another host of the cluster, with Docker's keys.
type InspectedPeer struct {
	Name      string
	IP        string // its end of tunnels
	Endpoints int    // of this network
}

// InspectedCluster is what the cluster knows of a network.
type InspectedCluster struct {
	VNI       uint32
	Encrypted bool              // through WireGuard, or not at all
	Endpoints []ClusterEndpoint // of all hosts, this one included
	Blocks    []ClusterBlock
}

// ClusterEndpoint is an attachment on some host.
type ClusterEndpoint struct {
	Host        string
	Name        string
	ContainerID string
	IfName      string
	MacAddress  string
	Addresses   []netip.Addr
	Aliases     []string `json:",omitempty"`
}

// ClusterBlock is a part of a subnet that one host gives addresses from.
type ClusterBlock struct {
	Prefix netip.Prefix
	Host   string
}

// ClusterPlugin is the plugin's JSON object of an overlay whose endpoints the
// agents keep in etcd; nil for any other network.
func (n *Network) ClusterPlugin() json.RawMessage {
	if n.Driver != "overlay" || len(n.chain.Plugins) == 0 || !overlay.OfCluster(n.chain.Plugins[0]) {
		return nil
	}
	return n.chain.Plugins[0]
}

// Scope is Docker's word for how far a network reaches: "local" or "global".
func (n *Network) Scope() string {
	if n.ClusterPlugin() != nil {
		return "global"
	}
	return "local"
}

// AddCluster adds what the agent says, so that the inspection is the same on
// every host.
func (i *Inspection) AddCluster(n *api.Network) {
	i.Cluster = &InspectedCluster{VNI: n.VNI, Encrypted: n.Encrypted, Endpoints: []ClusterEndpoint{}, Blocks: []ClusterBlock{}}
	for _, e := range n.Endpoints {
		i.Cluster.Endpoints = append(i.Cluster.Endpoints, ClusterEndpoint{
			Host: e.Host, Name: e.Name, ContainerID: e.ContainerID, IfName: e.IfName,
			MacAddress: e.MAC, Addresses: e.Addresses, Aliases: e.Aliases,
		})
	}
	for _, b := range n.Blocks {
		i.Cluster.Blocks = append(i.Cluster.Blocks, ClusterBlock(b))
	}
	for _, p := range n.Peers {
		i.Peers = append(i.Peers, InspectedPeer{Name: p.Host, IP: p.Address.String(), Endpoints: p.Endpoints})
	}
	for k := range i.IPAM.Config {
		i.IPAM.Config[k].countOthers(n)
	}
}

// countOthers counts the addresses that other hosts have given out.
func (r *InspectedRange) countOthers(n *api.Network) {
	others := 0
	for _, e := range n.Endpoints {
		for _, a := range e.Addresses {
			if e.Host != n.Host && r.Subnet.Contains(a) {
				others++
			}
		}
	}
	r.Used += others
	if r.Free != nil {
		free := r.Free.Minus(others)
		r.Free = &free
	}
}
