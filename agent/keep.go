package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/agent/plane"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins/overlay"
)

// settle is how long after a sign of damage a repair waits for more of them.
const settle = 50 * time.Millisecond

// keep repairs at the start, when asked, and every so often.
func (a *Agent) keep(ctx context.Context) {
	tick := time.NewTicker(a.Every)
	defer tick.Stop()
	a.soil() // the first is due at once
	guard := time.NewTicker(a.guardEvery())
	defer guard.Stop()
	if a.cluster != nil {
		a.trouble("resume the mesh", a.resumeMesh())
	}
	mourner := &cluster.Mourner{Client: a.cluster, After: a.ReclaimAfter}
	for a.due(ctx, tick.C, guard.C) {
		a.reconcile(ctx)
		a.trouble("keep the packet filter", a.keepFilter(ctx))
		a.trouble("keep ways around br_netfilter", a.keepShortcuts())
		if a.cluster == nil {
			continue
		}
		a.trouble("guard addresses", a.guardAddresses(ctx))
		a.mu.Lock()
		err := a.introduce() // the underlay's MTU may have changed
		a.mu.Unlock()
		a.trouble("find this host's address", err)
		a.trouble("repair", a.repair(ctx))
		a.trouble("remember the cluster", a.cluster.Remember(a.memory()))
		if _, err := a.cluster.Health(); err == nil {
			a.trouble("free addresses of dead hosts", mourner.Sweep(ctx))
		}
	}
}

// due waits until a repair is due, and is false when ctx ends.
func (a *Agent) due(ctx context.Context, tick, guard <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case <-guard:
			a.trouble("guard addresses", a.guardAddresses(ctx))
		case <-a.dirty:
			time.Sleep(settle)
			return true
		}
	}
}

func (a *Agent) soil() {
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// reconcile removes what crashes and dead containers left.
func (a *Agent) reconcile(ctx context.Context) {
	if a.Catalogue == nil {
		return
	}
	repairs, err := a.Catalogue.Reconcile(ctx)
	a.trouble("reconcile", err)
	if repairs != nil && len(repairs.Endpoints)+len(repairs.Links) > 0 {
		a.Log.Info("reconciled", "endpoints", len(repairs.Endpoints), "links", len(repairs.Links))
	}
}

// repair makes the kernel and etcd equal to the records and the view.
func (a *Agent) repair(ctx context.Context) error {
	if !a.cluster.IsSynced() {
		return nil // follow asks again when the view is there
	}
	if a.isFenced() {
		return nil // or the devices would come up again
	}
	errs := []error{a.keepNetworks(ctx), a.keepAddresses(ctx, false)}
	of, err := a.publishAll()
	if err != nil {
		return err
	}
	a.forgetSegments(of)
	a.mu.Lock()
	defer a.mu.Unlock()
	errs = append(errs, a.keepMesh(of))
	for _, r := range of {
		errs = append(errs, a.repairSegment(ctx, r))
	}
	return errors.Join(errs...)
}

// forgetSegments lets go of the networks that have no record any more. One
// that an endpoint is coming to stays: its driver may have been told that it
// is served.
func (a *Agent) forgetSegments(of map[string]*endpoint.Record) {
	a.telling.Lock()
	defer a.telling.Unlock()
	comes := map[string]bool{}
	for key := range a.coming {
		comes[key.Network] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hasty.Lock()
	defer a.hasty.Unlock()
	for network := range a.segments {
		if of[network] == nil && !comes[network] {
			delete(a.segments, network)
			delete(a.serving, network)
		}
	}
}

// repairSegment opens a network's devices anew, restores those that are gone,
// and makes their entries right. a.mu is held.
func (a *Agent) repairSegment(ctx context.Context, r *endpoint.Record) error {
	if a.isFenced() {
		return nil
	}
	bridge, vxlan, err := overlay.Devices(r)
	if err != nil {
		return err
	}
	if !overlay.Intact(r) {
		local, err := a.vtep()
		if err != nil {
			return err
		}
		if overlay.Encrypted(r) {
			local = a.secret.tunnel
		}
		if err := overlay.Restore(ctx, a.Store, r, local); err != nil {
			return err
		}
		a.Log.Info("restored devices", "network", r.Network)
	}
	s, err := plane.Open(a.dev, a.herald, bridge, vxlan)
	if err != nil {
		return err
	}
	a.segments[r.Network] = s
	if err := a.applyOffload(r); err != nil {
		return err
	}
	n, err := s.Repair(a.cluster.View().Forwarding(r.Network, a.Name), a.cluster.IsRecovering())
	a.metrics.repaired.Add(float64(n))
	if n > 0 {
		a.Log.Info("repaired entries", "network", r.Network, "entries", n)
	}
	if err == nil {
		a.hasty.Lock()
		a.serving[r.Network] = api.Served{Bridge: s.Bridge(), VXLAN: s.VXLAN()}
		a.hasty.Unlock()
	}
	return err
}

// follow applies a change of the cluster to the networks that this host has.
func (a *Agent) follow(change cluster.Change) {
	a.metrics.changes.Inc()
	if change.Full || len(change.Networks) > 0 || slices.Contains(change.Hosts, a.Name) {
		a.soil()
	}
	if change.Full || len(change.Networks) > 0 {
		a.install()
	}
	view, touched := a.cluster.View(), change.Endpoints
	if len(change.Hosts) > 0 {
		touched = append(touched, view.EndpointsOn(change.Hosts)...)
	}
	if a.cluster.IsRecovering() {
		// Etcd is told anew, in any order: as in a repair, what the kernel has is
		// better than nothing.
		touched = slices.DeleteFunc(touched, func(e *cluster.Endpoint) bool { return view.IsAhead(e.Network, e.MAC, a.Name) })
	}
	ways, neighbours := map[string][]plane.Way{}, map[string][]plane.Neighbour{}
	for _, e := range touched {
		vtep, ok := view.Way(e.Network, e.MAC, a.Name)
		ways[e.Network] = append(ways[e.Network], plane.Way{MAC: e.MAC, VTEP: vtep, Known: ok})
		for _, addr := range e.Addresses {
			mac, ok := view.Holder(e.Network, addr, a.Name)
			neighbours[e.Network] = append(neighbours[e.Network], plane.Neighbour{Addr: addr, MAC: mac, Known: ok})
		}
	}
	a.mu.Lock()
	// Before the ways: a frame would leave for a peer that is not one yet.
	errs := []error{a.updatePeers()}
	for network := range ways {
		if s := a.segments[network]; s != nil {
			errs = append(errs, s.Set(ways[network], neighbours[network]))
		}
	}
	a.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		a.trouble("apply a change", err)
		a.soil()
	}
}

// listen asks for a repair when the kernel loses what this agent keeps: a
// device, an entry, an address of the uplink.
func (a *Agent) listen(ctx context.Context) {
	for {
		events, err := a.watch.Next()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			a.trouble("listen to the kernel", err)
			return
		}
		if slices.ContainsFunc(events, a.damages) {
			a.soil()
		}
	}
}

func (a *Agent) damages(e netdev.Event) bool {
	switch {
	case e.Link != nil:
		return a.ours(func(s *plane.Segment) bool { return s.Damaged(e.Link) })
	case e.Gone != 0:
		return a.ours(func(s *plane.Segment) bool { return s.Owns(e.Gone) })
	case e.Entry != nil:
		return a.ours(func(s *plane.Segment) bool { return s.Has(e.Entry.Link, e.Entry.MAC, e.Entry.Addr) })
	case e.Addr.IsValid():
		return a.cluster != nil && a.moves(e.Addr.Addr())
	}
	return e.Lost
}

// moves tells whether the coming or going of an address of the host changes
// its end of the tunnels, and tells the cluster of the new one.
func (a *Agent) moves(changed netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.local
	if err := a.introduce(); err != nil {
		// There will be another address, or this one again.
		a.Log.Warn("find this host's address", "err", err)
		return false
	}
	return a.local != old || changed == old
}

func (a *Agent) ours(test func(*plane.Segment) bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.segments {
		if test(s) {
			return true
		}
	}
	return false
}
