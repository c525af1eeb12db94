package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/overlay"
)

// status is how this agent does: what it serves, whom it sees, how far it is
// behind, and what went wrong.
func (a *Agent) status(ctx context.Context) *api.Status {
	s := &api.Status{Host: a.Name, Started: a.started, Networks: []api.NetworkStatus{}, Warnings: []string{}, Errors: []api.Problem{}, Names: a.namesStatus()}
	a.mu.Lock()
	s.Errors = append(s.Errors, a.problems...)
	served := slices.Sorted(maps.Keys(a.segments))
	a.mu.Unlock()
	if a.cluster == nil {
		return s
	}
	for _, name := range served {
		s.Networks = append(s.Networks, a.networkStatus(name))
	}
	s.Mesh = a.meshStatus()
	s.Cluster = a.clusterStatus(ctx)
	s.Cluster.Peers = a.peers(a.cluster.View().CountEndpoints())
	if err := a.cluster.Namesake(); err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}
	if a.isFenced() {
		s.Warnings = append(s.Warnings, fmt.Sprintf("this host is off its overlay networks, because etcd has last answered at %s and others may be given its addresses; "+
			"it comes back by itself when etcd answers", s.Cluster.LastSeen.Format(time.RFC3339)))
	}
	s.Warnings = append(s.Warnings, a.evictions()...)
	s.Warnings = append(s.Warnings, a.warnings(s.Cluster.Peers)...)
	if h := a.cluster.View().Host(a.Name); h != nil {
		s.Address = h.Address.String()
	}
	return s
}

// networkStatus tells how many endpoints a network has here and elsewhere.
func (a *Agent) networkStatus(name string) api.NetworkStatus {
	s := api.NetworkStatus{Name: name}
	view := a.cluster.View()
	if n := view.Network(name); n != nil {
		s.VNI = n.VNI
	}
	for _, e := range view.Endpoints(name) {
		if e.Host == a.Name {
			s.Here++
		} else {
			s.Elsewhere++
		}
	}
	return s
}

func (a *Agent) clusterStatus(ctx context.Context) *api.Cluster {
	behind, took, lagErr := a.cluster.Lag(ctx)
	seen, err := a.cluster.Health()
	s := &api.Cluster{
		Servers: a.Options.Cluster.Servers, Connected: err == nil && lagErr == nil && !seen.IsZero(), LastSeen: seen,
		Revision: a.cluster.View().Revision(), Behind: behind, RoundTrip: took,
	}
	if err := cmp.Or(err, lagErr); err != nil {
		s.Error = err.Error()
	}
	return s
}

// peers are the other living hosts, with how many of the endpoints that were
// counted each has.
func (a *Agent) peers(count map[string]int) []api.Peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	peers := []api.Peer{}
	for _, h := range a.cluster.View().Hosts() {
		if h.Name != a.Name {
			peers = append(peers, api.Peer{
				Host: h.Name, Address: h.Address, Endpoints: count[h.Name], MTU: h.UnderlayMTU, VXLAN: a.found.about(h.Name),
			})
		}
	}
	return peers
}

// warnings are what an operator should look at, though nothing has failed.
func (a *Agent) warnings(peers []api.Peer) (list []string) {
	self := a.cluster.View().Host(a.Name)
	for _, p := range peers {
		switch p.VXLAN {
		case api.VXLANSilent:
			list = append(list, fmt.Sprintf("%s does not answer through VXLAN at %s: is a firewall in the way of the UDP port?", p.Host, p.Address))
		case api.VXLANChecksums:
			list = append(list, fmt.Sprintf("checksums that are left to this host's network card are broken when they arrive at %s: "+
				"networks with checksumOffload auto leave none to it; see: ethtool -K DEVICE tx off", p.Host))
		}
		if self != nil && self.UnderlayMTU != 0 && p.MTU != 0 && self.UnderlayMTU != p.MTU {
			least := min(self.UnderlayMTU, p.MTU)
			list = append(list, fmt.Sprintf("the underlay's MTU is %d here and %d at %s: create networks with -o mtu=%d, encrypted ones with -o mtu=%d",
				self.UnderlayMTU, p.MTU, p.Host, least-overlay.Encapsulation(self.Address), least-mesh.Overhead(self.Address)-overlay.Encapsulation(self.Tunnel)))
		}
	}
	return list
}

// inspect is what the cluster knows of a network.
func (a *Agent) inspect(name string) (*api.Network, error) {
	view := a.cluster.View()
	n := view.Network(name)
	if n == nil {
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "inspect network %s: %w", name, cluster.ErrNoNetwork)
	}
	out := &api.Network{
		Name: n.Name, VNI: n.VNI, Encrypted: n.Encrypted(), Config: n.Config, Labels: n.Labels, Created: n.Created,
		Host: a.Name, Endpoints: []api.Endpoint{}, Blocks: []api.Block{},
	}
	count := map[string]int{}
	for _, e := range view.Endpoints(name) {
		count[e.Host]++
		out.Endpoints = append(out.Endpoints, api.Endpoint{
			Host: e.Host, ContainerID: e.ContainerID, IfName: e.IfName, Name: e.Name, MAC: e.MAC, Addresses: e.Addresses, Aliases: e.Aliases,
		})
	}
	out.Peers = a.peers(count)
	blocks := view.Blocks(name)
	for _, p := range slices.SortedFunc(maps.Keys(blocks), netip.Prefix.Compare) {
		out.Blocks = append(out.Blocks, api.Block{Prefix: p, Host: blocks[p]})
	}
	return out, nil
}
