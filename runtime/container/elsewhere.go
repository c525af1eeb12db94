package container

import (
	"context"
	"net/netip"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/state"
)

// askWithin bounds what a question of the container's waits for the agent.
const askWithin = time.Second

// agentNames asks this host's agent for what other hosts have. Where none
// runs, or it knows no cluster, there is nothing.
type agentNames struct{ store *state.Store }

// Named implements dns.Elsewhere.
func (n agentNames) Named(ctx context.Context, network, name string) []*dns.Endpoint {
	return n.ask(ctx, api.Lookup{Network: network, Name: name})
}

// At implements dns.Elsewhere.
func (n agentNames) At(ctx context.Context, network string, address netip.Addr) *dns.Endpoint {
	if found := n.ask(ctx, api.Lookup{Network: network, Address: address}); len(found) > 0 {
		return found[0]
	}
	return nil
}

func (n agentNames) ask(ctx context.Context, l api.Lookup) (found []*dns.Endpoint) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	answer, err := api.Call(ctx, n.store, api.Request{Lookup: &l})
	if err != nil {
		return nil
	}
	for _, e := range answer.Found {
		key := endpoint.Key{Network: e.Network, ContainerID: e.ContainerID, IfName: e.IfName}
		found = append(found, dns.Distant(key, e.Name, e.Addresses))
	}
	return found
}
