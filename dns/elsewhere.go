package dns

import (
	"context"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/endpoint"
)

// Elsewhere knows the endpoints that other hosts have on an overlay network.
// Names are in small letters. What is not known is nil.
type Elsewhere interface {
	Named(ctx context.Context, network, name string) []*Endpoint
	At(ctx context.Context, network string, address netip.Addr) *Endpoint
}

// Distant is an endpoint of another host.
func Distant(key endpoint.Key, name string, addresses []netip.Addr) *Endpoint {
	e := &Endpoint{Key: key, Name: name}
	for _, a := range addresses {
		e.Addresses = append(e.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	return e
}

// mayAskOthers tells whether an answer can wait for another process.
func (q *question) mayAskOthers() bool {
	return q.client.resolver.elsewhere != nil && slices.ContainsFunc(q.zone.networks, func(n *index) bool { return n.overlay })
}

// elsewhere asks for a name on each overlay network of the client's.
func (q *question) elsewhere(ctx context.Context, name string) (found []*Endpoint) {
	other := q.client.resolver.elsewhere
	if other == nil {
		return nil
	}
	for _, n := range q.zone.networks {
		if n.overlay {
			found = append(found, other.Named(ctx, n.network, name)...)
		}
	}
	return found
}

// holderElsewhere asks for an address on each overlay network of the client's.
func (q *question) holderElsewhere(ctx context.Context, addr netip.Addr) *Endpoint {
	other := q.client.resolver.elsewhere
	if other == nil {
		return nil
	}
	for _, n := range q.zone.networks {
		if !n.overlay {
			continue
		}
		if e := other.At(ctx, n.network, addr); e != nil {
			return e
		}
	}
	return nil
}
