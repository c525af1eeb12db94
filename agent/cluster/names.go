package cluster

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-net/berth/dns"
)

// names are those that lead to the endpoint, in small letters, and that do so
// with the network's behind them too.
func (e *Endpoint) names() []string {
	var list []string
	for _, name := range dns.ShortNames(e.Key, e.Name, e.Aliases) {
		if name = strings.ToLower(name); name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// Named are the endpoints of a network that a name in small letters leads to,
// those of the host named self left out. They are not to be changed.
func (v *View) Named(network, name, self string) []*Endpoint {
	v.mu.RLock()
	defer v.mu.RUnlock()
	of := v.endpoints[network]
	if of == nil {
		return nil
	}
	var found []*Endpoint
	named := of.byName.of(name)
	if short, ok := strings.CutSuffix(name, "."+strings.ToLower(network)); ok {
		named = append(named, of.byName.of(short)...)
	}
	for _, e := range named {
		if e.Host != self && v.hosts[e.Host] != nil && !slices.Contains(found, e) {
			found = append(found, e)
		}
	}
	return found
}

// At is the endpoint of a network that has an address on another host than
// the one named self, or nil. It is not to be changed.
func (v *View) At(network string, a netip.Addr, self string) *Endpoint {
	v.mu.RLock()
	defer v.mu.RUnlock()
	of := v.endpoints[network]
	if of == nil {
		return nil
	}
	if e := of.byAddr.newest(a); e != nil && e.Host != self && v.hosts[e.Host] != nil {
		return e
	}
	return nil
}
