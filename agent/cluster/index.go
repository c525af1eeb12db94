package cluster

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// index finds a network's endpoints by what frames and packets say. Two of
// them may hold a MAC or an address for a while: a container that moves is
// told by its new host before the old one has let go. Then the newest counts,
// and when it goes the other does again.
type index struct {
	all    map[string]*Endpoint // by etcd's key
	byMAC  claims[string]
	byAddr claims[netip.Addr]
	byName claims[string] // in small letters, without the network's behind them
}

func newIndex() *index {
	return &index{all: map[string]*Endpoint{}, byMAC: newClaims[string](), byAddr: newClaims[netip.Addr](), byName: newClaims[string]()}
}

// put adds an endpoint and returns the one that had the key before.
func (x *index) put(key string, e *Endpoint) *Endpoint {
	old := x.drop(key)
	x.all[key] = e
	x.byMAC.add(e.MAC, e)
	for _, a := range e.Addresses {
		x.byAddr.add(a, e)
	}
	for _, name := range e.names() {
		x.byName.add(name, e)
	}
	return old
}

// drop removes the endpoint with the key and returns it.
func (x *index) drop(key string) *Endpoint {
	old := x.all[key]
	if old == nil {
		return nil
	}
	delete(x.all, key)
	x.byMAC.remove(old.MAC, old)
	for _, a := range old.Addresses {
		x.byAddr.remove(a, old)
	}
	for _, name := range old.names() {
		x.byName.remove(name, old)
	}
	return old
}

// claims are the endpoints that claim something: one, as a rule, for which a
// list each would take more memory than all else that is known of it.
type claims[K comparable] struct {
	one  map[K]*Endpoint
	more map[K][]*Endpoint // beside the one
}

func newClaims[K comparable]() claims[K] {
	return claims[K]{map[K]*Endpoint{}, map[K][]*Endpoint{}}
}

func (c claims[K]) add(k K, e *Endpoint) {
	if c.one[k] == nil {
		c.one[k] = e
	} else {
		c.more[k] = append(c.more[k], e)
	}
}

func (c claims[K]) remove(k K, e *Endpoint) {
	list := slices.DeleteFunc(c.of(k), func(other *Endpoint) bool { return other == e })
	delete(c.one, k)
	delete(c.more, k)
	for _, e := range list {
		c.add(k, e)
	}
}

// of are all that claim k, in a list of the caller's own.
func (c claims[K]) of(k K) []*Endpoint {
	e := c.one[k]
	if e == nil {
		return nil
	}
	return append([]*Endpoint{e}, c.more[k]...)
}

// newest is the endpoint that holds what all of them claim, or nil.
func (c claims[K]) newest(k K) *Endpoint {
	best := c.one[k]
	for _, e := range c.more[k] {
		if e.revision > best.revision {
			best = e
		}
	}
	return best
}

// Way tells where a network's MAC is: the VTEP of its host. It is not ok for
// one that nobody has or that is on the host named self.
func (v *View) Way(network, mac, self string) (vtep netip.Addr, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	of := v.endpoints[network]
	if of == nil {
		return vtep, false
	}
	return v.vtepOf(network, of.byMAC.newest(mac), self)
}

// IsAhead tells whether the view has another host's MAC before the network or
// the host, so that Way does not know it yet.
func (v *View) IsAhead(network, mac, self string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	of := v.endpoints[network]
	if of == nil {
		return false
	}
	e := of.byMAC.newest(mac)
	return e != nil && e.Host != self && (v.networks[network] == nil || v.hosts[e.Host] == nil)
}

// Holder tells the MAC of a network's address, as Way does.
func (v *View) Holder(network string, a netip.Addr, self string) (mac string, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	of := v.endpoints[network]
	if of == nil {
		return "", false
	}
	e := of.byAddr.newest(a)
	if _, ok := v.vtepOf(network, e, self); !ok {
		return "", false
	}
	return e.MAC, true
}

// vtepOf is not ok either where the network is not known, or is encrypted and
// the host has no place in the mesh: what cannot go the right way goes no way.
func (v *View) vtepOf(network string, e *Endpoint, self string) (vtep netip.Addr, ok bool) {
	n := v.networks[network]
	if n == nil || e == nil || e.Host == self {
		return vtep, false
	}
	h := v.hosts[e.Host]
	switch {
	case h == nil:
		return vtep, false
	case n.encrypted:
		return h.Tunnel, h.Key != "" && h.Tunnel.IsValid()
	}
	return h.Address, true
}

// Members are the living hosts with an endpoint on one of the networks, by
// name, the one named self left out.
func (v *View) Members(networks []string, self string) []*Host {
	v.mu.RLock()
	defer v.mu.RUnlock()
	on := map[string]*Host{}
	for _, network := range networks {
		of := v.endpoints[network]
		if of == nil {
			continue
		}
		for _, e := range of.all {
			if h := v.hosts[e.Host]; h != nil && e.Host != self {
				on[e.Host] = h
			}
		}
	}
	return slices.SortedFunc(maps.Values(on), func(a, b *Host) int { return cmp.Compare(a.Name, b.Name) })
}

// Forwarding is everything that a host must know of a network: the way to
// each MAC and the MAC of each address that is elsewhere.
type Forwarding struct {
	Ways       map[string]netip.Addr
	Neighbours map[netip.Addr]string
}

// Forwarding is that of the host named self.
func (v *View) Forwarding(network, self string) Forwarding {
	v.mu.RLock()
	defer v.mu.RUnlock()
	f := Forwarding{Ways: map[string]netip.Addr{}, Neighbours: map[netip.Addr]string{}}
	of := v.endpoints[network]
	if of == nil {
		return f
	}
	for mac := range of.byMAC.one {
		if vtep, ok := v.vtepOf(network, of.byMAC.newest(mac), self); ok {
			f.Ways[mac] = vtep
		}
	}
	for a := range of.byAddr.one {
		e := of.byAddr.newest(a)
		if _, ok := v.vtepOf(network, e, self); ok {
			f.Neighbours[a] = e.MAC
		}
	}
	return f
}
