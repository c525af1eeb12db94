package agent

import (
	"context"
	"net/netip"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/agent/names"
	"github.com/berth-net/berth/dns"
)

// elsewhere is the cluster as a resolver sees it.
type elsewhere struct{ a *Agent }

// Named implements dns.Elsewhere.
func (e elsewhere) Named(_ context.Context, network, name string) (found []*dns.Endpoint) {
	for _, ep := range e.a.cluster.View().Named(network, name, e.a.Name) {
		found = append(found, named(ep))
	}
	return found
}

// At implements dns.Elsewhere.
func (e elsewhere) At(_ context.Context, network string, address netip.Addr) *dns.Endpoint {
	if ep := e.a.cluster.View().At(network, address, e.a.Name); ep != nil {
		return named(ep)
	}
	return nil
}

func named(ep *cluster.Endpoint) *dns.Endpoint {
	return dns.Distant(ep.Key, ep.Name, ep.Addresses)
}

// lookup answers a supervisor, whose resolver knows this host only.
func (a *Agent) lookup(l *api.Lookup) []api.Endpoint {
	view := a.cluster.View()
	list := view.Named(l.Network, l.Name, a.Name)
	if l.Address.IsValid() {
		list = nil
		if ep := view.At(l.Network, l.Address, a.Name); ep != nil {
			list = append(list, ep)
		}
	}
	var found []api.Endpoint
	for _, e := range list {
		found = append(found, api.Endpoint{Network: e.Network, Host: e.Host, ContainerID: e.ContainerID, IfName: e.IfName, Name: e.Name, MAC: e.MAC, Addresses: e.Addresses})
	}
	return found
}

func (a *Agent) namesOptions() names.Options {
	o := names.Options{Store: a.Store, Host: a.NamesAt, Log: a.Log}
	if len(a.Options.Cluster.Servers) > 0 {
		o.Elsewhere = elsewhere{a}
	}
	return o
}
