package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/overlay"
	"github.com/berth-net/berth/state"
)

// tellWithin bounds what an ADD waits for etcd.
const tellWithin = 50 * time.Millisecond

// publishAll tells the cluster of every endpoint of this host's records, and
// returns one record of each network. Evicted endpoints are not told of, but
// keep their network.
func (a *Agent) publishAll() (map[string]*endpoint.Record, error) {
	a.telling.Lock()
	defer a.telling.Unlock()
	records, err := attach.Records(a.Store, "")
	if err != nil {
		return nil, err
	}
	all, of, coming := []*cluster.Endpoint{}, map[string]*endpoint.Record{}, map[endpoint.Key]*cluster.Endpoint{}
	for _, r := range records {
		if e := a.coming[r.Key]; e != nil && r.Phase == endpoint.Intent {
			all, coming[r.Key] = append(all, e), e
		} else if e := a.published(r); e != nil {
			if of[r.Network] = r; a.evicted[r.Key] == nil {
				all = append(all, e)
			}
		}
	}
	a.coming = coming
	a.metrics.endpoints.Set(float64(len(all)))
	a.metrics.peers.Set(float64(len(a.cluster.View().Hosts()) - 1))
	return of, a.cluster.SetEndpoints(all)
}

// published is what the cluster is told of a record; nil: nothing.
func (a *Agent) published(r *endpoint.Record) *cluster.Endpoint {
	n := a.cluster.View().Network(r.Network)
	if r.Driver != "overlay" || r.Phase != endpoint.Ready || n == nil || overlay.VNI(r) != n.VNI {
		return nil
	}
	e := &cluster.Endpoint{Key: r.Key, Host: a.Name, Name: r.Name, MAC: r.MAC.String(), Aliases: r.Aliases, Addresses: []netip.Addr{}}
	for _, p := range r.Addresses {
		e.Addresses = append(e.Addresses, p.Addr())
	}
	return e
}

// comes is told by the driver of an endpoint whose devices are being made. It
// returns what the endpoint's network is served by.
func (a *Agent) comes(ctx context.Context, e *api.Endpoint) (*api.Served, error) {
	told := &cluster.Endpoint{
		Key:  endpoint.Key{Network: e.Network, ContainerID: e.ContainerID, IfName: e.IfName},
		Host: a.Name, Name: e.Name, MAC: e.MAC, Addresses: e.Addresses, Aliases: e.Aliases,
	}
	a.telling.Lock()
	delete(a.evicted, told.Key) // the address is a new one
	a.coming[told.Key] = told
	err := a.cluster.PublishEndpoint(told)
	a.telling.Unlock()
	if err != nil {
		return nil, err
	}
	a.awaitPublished(ctx, told)
	return a.served(e.Network), nil
}

// served is nil where a ready endpoint has to be told of.
func (a *Agent) served(network string) *api.Served {
	n := a.cluster.View().Network(network)
	a.hasty.Lock()
	defer a.hasty.Unlock()
	s, ok := a.serving[network]
	if !ok || a.fenced.Load() || n == nil || n.Encrypted() {
		return nil
	}
	return &s
}

// awaitPublished waits a moment until etcd has an endpoint.
func (a *Agent) awaitPublished(ctx context.Context, e *cluster.Endpoint) {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	a.cluster.AwaitPublished(ctx, e)
}

// changed is told by the driver that a record is ready or gone.
func (a *Agent) changed(ctx context.Context, key endpoint.Key) error {
	r, e, err := a.publishOne(key)
	if err != nil {
		return err
	}
	if r == nil {
		a.forgetClaims(key)
	}
	if !a.cluster.IsSynced() {
		// A memory does not know who is where: what the kernel has is better.
		return nil
	}
	if r == nil {
		a.releaseClaims(ctx, key.Network)
	}
	if e == nil {
		return nil
	}
	defer a.awaitPublished(ctx, e)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.joined(r)
	if s := a.segments[key.Network]; s != nil {
		if vxlan, err := a.dev.LinkByIndex(s.VXLAN()); err == nil && vxlan.Attrs().MasterIndex == s.Bridge() {
			return nil
		}
	}
	return a.repairSegment(ctx, r)
}

// publishOne tells the cluster of one record as it now is. It returns nil for
// what there is not.
func (a *Agent) publishOne(key endpoint.Key) (*endpoint.Record, *cluster.Endpoint, error) {
	a.telling.Lock()
	defer a.telling.Unlock()
	delete(a.coming, key)
	var r *endpoint.Record
	err := a.Store.View(func(tx *state.Tx) (err error) {
		if r, err = endpoint.Get(tx, key); errors.Is(err, endpoint.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if r == nil {
		delete(a.evicted, key)
		return nil, nil, a.cluster.WithdrawEndpoint(&cluster.Endpoint{Key: key, Host: a.Name})
	}
	e := a.published(r)
	if e == nil || a.evicted[key] != nil {
		return r, nil, nil
	}
	return r, e, a.cluster.PublishEndpoint(e)
}
