package cluster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// View is this host's copy of the cluster, kept by a watch.
type View struct {
	mu        sync.RWMutex
	age       age
	networks  map[string]*Network
	hosts     map[string]*Host
	dead      map[string]json.RawMessage
	endpoints map[string]*index // by network
	blocks    map[string]map[netip.Prefix]string
	claims    map[string]map[netip.Addr]string
}

// Change says what an update touched.
type Change struct {
	Full      bool        // anything may have changed
	Networks  []string    // created or removed
	Hosts     []string    // came, went or moved
	Endpoints []*Endpoint // came, went or changed: as they were, and as they are
}

func (c *Change) empty() bool {
	return !c.Full && len(c.Networks) == 0 && len(c.Hosts) == 0 && len(c.Endpoints) == 0
}

func newView() *View {
	v := new(View)
	v.reset()
	return v
}

func (v *View) reset() {
	v.networks, v.hosts, v.dead = map[string]*Network{}, map[string]*Host{}, map[string]json.RawMessage{}
	v.endpoints = map[string]*index{}
	v.blocks, v.claims = map[string]map[netip.Prefix]string{}, map[string]map[netip.Addr]string{}
}

// put and drop apply one key. What cannot be read is reported and skipped: a
// newer berth may have written it.
func (v *View) put(raw string, value []byte, revision int64, change *Change) error {
	kind, rest, err := split(raw)
	if err != nil {
		return err
	}
	switch kind {
	case kindNetwork:
		return putInto(v.networks, rest[0], value, raw, func() { change.Networks = append(change.Networks, rest[0]) })
	case kindHost:
		old := v.hosts[rest[0]]
		return putInto(v.hosts, rest[0], value, raw, func() {
			// An agent that starts anew says the same once more, on its new lease.
			if old == nil || *old != *v.hosts[rest[0]] {
				change.Hosts = append(change.Hosts, rest[0])
			}
		})
	case kindDead:
		v.dead[rest[0]] = value
	case kindEndpoint:
		return v.putEndpoint(rest, raw, value, revision, change)
	case kindBlock:
		p, err := parseBlock(rest[1])
		return putOwner(v.blocks, rest[0], p, err, value, raw)
	case kindClaim:
		a, err := netip.ParseAddr(rest[1])
		return putOwner(v.claims, rest[0], a, err, value, raw)
	}
	return nil
}

func putInto[T any](to map[string]*T, name string, value []byte, raw string, changed func()) error {
	item := new(T)
	if err := json.Unmarshal(value, item); err != nil {
		return fmt.Errorf("decode %s: %w", raw, err)
	}
	to[name] = item
	changed()
	return nil
}

func putOwner[K comparable](to map[string]map[K]string, network string, k K, err error, value []byte, raw string) error {
	var o owner
	if err == nil {
		err = json.Unmarshal(value, &o)
	}
	if err != nil {
		return fmt.Errorf("decode %s: %w", raw, err)
	}
	if to[network] == nil {
		to[network] = map[K]string{}
	}
	to[network][k] = o.Host
	return nil
}

func (v *View) putEndpoint(rest []string, raw string, value []byte, revision int64, change *Change) error {
	e := new(Endpoint)
	if err := json.Unmarshal(value, e); err != nil {
		return fmt.Errorf("decode %s: %w", raw, err)
	}
	e.revision = revision
	e.Network, e.Host, e.ContainerID, e.IfName = rest[0], rest[1], rest[2], rest[3]
	of := v.endpoints[e.Network]
	if of == nil {
		of = newIndex()
		v.endpoints[e.Network] = of
	}
	if old := of.put(raw, e); old != nil {
		change.Endpoints = append(change.Endpoints, old)
	}
	change.Endpoints = append(change.Endpoints, e)
	return nil
}

func (v *View) drop(raw string, change *Change) error {
	kind, rest, err := split(raw)
	if err != nil {
		return err
	}
	switch kind {
	case kindNetwork:
		delete(v.networks, rest[0])
		change.Networks = append(change.Networks, rest[0])
	case kindHost:
		delete(v.hosts, rest[0])
		change.Hosts = append(change.Hosts, rest[0])
	case kindDead:
		delete(v.dead, rest[0])
	case kindEndpoint:
		if of := v.endpoints[rest[0]]; of != nil {
			if old := of.drop(raw); old != nil {
				change.Endpoints = append(change.Endpoints, old)
			}
		}
	case kindBlock:
		if p, err := parseBlock(rest[1]); err == nil {
			delete(v.blocks[rest[0]], p)
		}
	case kindClaim:
		if a, err := netip.ParseAddr(rest[1]); err == nil {
			delete(v.claims[rest[0]], a)
		}
	}
	return nil
}

// Revision is etcd's of the last change in the view.
func (v *View) Revision() int64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.age.Revision
}

// Network finds a network, or nil. The result is not to be changed.
func (v *View) Network(name string) *Network {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.networks[name]
}

// Networks lists the networks by name.
func (v *View) Networks() []*Network {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.SortedFunc(maps.Values(v.networks), func(a, b *Network) int { return cmp.Compare(a.Name, b.Name) })
}

// Host finds a living host, or nil. The result is not to be changed.
func (v *View) Host(name string) *Host {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.hosts[name]
}

// Hosts lists the living hosts by name.
func (v *View) Hosts() []*Host {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.SortedFunc(maps.Values(v.hosts), func(a, b *Host) int { return cmp.Compare(a.Name, b.Name) })
}

// Endpoints lists a network's endpoints on all hosts.
func (v *View) Endpoints(network string) []*Endpoint {
	v.mu.RLock()
	defer v.mu.RUnlock()
	of := v.endpoints[network]
	if of == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(of.all), func(a, b *Endpoint) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.IfName, b.IfName))
	})
}

// EndpointsOn are the endpoints of the hosts that are named.
func (v *View) EndpointsOn(hosts []string) (on []*Endpoint) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, of := range v.endpoints {
		for _, e := range of.all {
			if slices.Contains(hosts, e.Host) {
				on = append(on, e)
			}
		}
	}
	return on
}

// CountEndpoints counts the endpoints of each host.
func (v *View) CountEndpoints() map[string]int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	count := map[string]int{}
	for _, of := range v.endpoints {
		for _, e := range of.all {
			count[e.Host]++
		}
	}
	return count
}

// Blocks lists who gives out which addresses of a network.
func (v *View) Blocks(network string) map[netip.Prefix]string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return maps.Clone(v.blocks[network])
}

// Claims lists who has which static address of a network.
func (v *View) Claims(network string) map[netip.Addr]string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return maps.Clone(v.claims[network])
}

// OwnerOf is the host that an address of a network is to give, by itself or
// with its block; empty: nobody's.
func (v *View) OwnerOf(network string, a netip.Addr) string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if host, ok := v.claims[network][a]; ok {
		return host
	}
	for p, host := range v.blocks[network] {
		if p.Contains(a) {
			return host
		}
	}
	return ""
}
