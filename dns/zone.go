package dns

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/resolvconf"
	"github.com/berth-net/berth/state"
)

// snapshot is the host's endpoints at one version of the database, indexed.
// It is never changed.
type snapshot struct {
	version  state.Version
	settled  bool
	all      []*Endpoint
	networks map[string]*index
	zones    sync.Map // netns.ID → *zone, made when first asked for
}

// index finds the endpoints of one network.
type index struct {
	network   string
	overlay   bool                   // other hosts have endpoints on it, too
	names     map[string][]*Endpoint // in small letters
	addresses map[netip.Addr]*Endpoint
	subnets   map[netip.Prefix]bool
}

// zone is what one client sees.
type zone struct {
	networks []*index
	egress   bool // a network of the client's leads beyond its containers
	dns      plugins.DNS
}

func newSnapshot(all []*Endpoint) *snapshot {
	s := &snapshot{all: all, networks: map[string]*index{}}
	for _, e := range all {
		n := s.networks[e.Network]
		if n == nil {
			n = newIndex(e.Network)
			s.networks[e.Network] = n
		}
		n.add(e)
	}
	return s
}

func newIndex(network string) *index {
	return &index{
		network: network, names: map[string][]*Endpoint{},
		addresses: map[netip.Addr]*Endpoint{}, subnets: map[netip.Prefix]bool{},
	}
}

func (n *index) add(e *Endpoint) {
	n.overlay = n.overlay || e.Driver == "overlay"
	for _, p := range e.Addresses {
		n.addresses[p.Addr()] = e
		n.subnets[p.Masked()] = true
	}
	seen := map[string]bool{}
	for _, name := range e.names() {
		if name = strings.ToLower(name); name != "" && !seen[name] {
			seen[name] = true
			n.names[name] = append(n.names[name], e)
		}
	}
}

// shortID is as much of an id as people are shown.
const shortID = 12

func (e *Endpoint) names() []string { return Names(e.Key, e.Name, e.Aliases) }

// Names are all that lead to an endpoint: the container's name, id and short
// id, its aliases on the network (the runtime's host name is one), and each of
// them with the network's name behind it. An Elsewhere answers by the same.
func Names(key endpoint.Key, name string, aliases []string) []string {
	names := ShortNames(key, name, aliases)
	for _, name := range names {
		if name != "" {
			names = append(names, name+"."+key.Network)
		}
	}
	return names
}

// ShortNames are those of Names without the network's behind them. Some may be
// empty.
func ShortNames(key endpoint.Key, name string, aliases []string) []string {
	names := append([]string{name, key.ContainerID}, aliases...)
	if len(key.ContainerID) > shortID {
		names = append(names, key.ContainerID[:shortID])
	}
	return names
}

// zone is the view of the client in a namespace.
func (s *snapshot) zone(id netns.ID) *zone {
	if z, ok := s.zones.Load(id); ok {
		return z.(*zone)
	}
	z, seen := new(zone), map[string]bool{}
	for _, e := range s.all {
		if e.NetNSID != id {
			continue
		}
		z.egress = z.egress || !e.Internal
		z.dns = resolvconf.Over(z.dns, e.DNS)
		if !seen[e.Network] {
			seen[e.Network] = true
			z.networks = append(z.networks, s.networks[e.Network])
		}
	}
	s.zones.Store(id, z)
	return z
}

// everything is the view of the host, which is on every network's bridge.
func (s *snapshot) everything() *zone {
	z := &zone{egress: true}
	for _, n := range s.networks {
		z.networks = append(z.networks, n)
	}
	return z
}

// find returns the living endpoints of a name in small letters.
func (z *zone) find(name string) (found []*Endpoint) {
	for _, n := range z.networks {
		for _, e := range n.names[name] {
			if e.Alive() {
				found = append(found, e)
			}
		}
	}
	return found
}

// holder is who has an address. local says that the address is of a network
// of the client's, whoever has it.
func (z *zone) holder(a netip.Addr) (found *Endpoint, local bool) {
	for _, n := range z.networks {
		if e := n.addresses[a]; e != nil && e.Alive() {
			return e, true
		}
		for subnet := range n.subnets {
			local = local || subnet.Contains(a)
		}
	}
	return nil, local
}
