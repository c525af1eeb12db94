package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/overlay"
)

// claimed is a static address that an Add has just asked for.
type claimed struct {
	key   endpoint.Key
	since time.Time
}

type claim struct {
	network string
	addr    netip.Addr
}

// claimAge is how long a static address may be without a record: that of the
// Add that asked for it.
const claimAge = time.Minute

// releaseClaims gives up a network's static addresses that no record has any
// more.
func (a *Agent) releaseClaims(ctx context.Context, network string) {
	claims := a.cluster.View().Claims(network)
	if len(claims) == 0 {
		return
	}
	records, err := attach.Records(a.Store, network)
	if err != nil {
		a.trouble("release static addresses", err)
		return
	}
	for addr, host := range claims {
		if host != a.Name || slices.ContainsFunc(records, func(r *endpoint.Record) bool { return holds(r, addr) }) {
			continue
		}
		a.mu.Lock()
		young := time.Since(a.claimed[claim{network, addr}].since) < claimAge
		if !young {
			delete(a.claimed, claim{network, addr})
		}
		a.mu.Unlock()
		if !young {
			a.trouble("release static addresses", a.cluster.ReleaseAddress(ctx, network, addr))
		}
	}
}

// forgetClaims says that the Add of an attachment is no longer under way.
func (a *Agent) forgetClaims(key endpoint.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c, by := range a.claimed {
		if by.key == key {
			delete(a.claimed, c)
		}
	}
}

func holds(r *endpoint.Record, addr netip.Addr) bool {
	return slices.ContainsFunc(r.Addresses, func(p netip.Prefix) bool { return p.Addr() == addr })
}

// isFenced tells whether this host has given up its networks.
func (a *Agent) isFenced() bool { return a.fenced.Load() }

// guardEvery is how often it is looked whether the host must give up its
// networks: well within the quarter of ReclaimAfter that Fence leaves.
func (a *Agent) guardEvery() time.Duration {
	if a.ReclaimAfter == 0 {
		return a.Every
	}
	return max(min(a.Every, a.ReclaimAfter/20), 100*time.Millisecond)
}

// guardAddresses takes this host off its networks before others, who think it
// dead, may be given its addresses, and puts it back when etcd answers and has
// told which of the addresses are still its own.
func (a *Agent) guardAddresses(ctx context.Context) error {
	if a.cluster == nil || a.ReclaimAfter == 0 {
		return nil
	}
	seen, _ := a.cluster.Health()
	if seen.IsZero() {
		seen = a.started
	}
	fence := time.Since(seen) > cluster.Fence(a.ReclaimAfter)
	if !fence && a.isFenced() {
		if err := a.keepAddresses(ctx, true); err != nil {
			return err
		}
		defer a.soil()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if fence && !a.fenced.Load() {
		a.Log.Warn("this host gives up its networks: etcd has not answered for so long that others may be given its addresses", "last", seen)
	}
	a.fenced.Store(fence)
	if !fence {
		return nil
	}
	return a.cut()
}

// cut takes the host off the cluster's networks: nothing leaves or comes in by
// their VXLAN devices. The records tell which those are, for an agent that was
// started without etcd has opened no segment. a.mu is held.
func (a *Agent) cut() error {
	records, err := attach.Records(a.Store, "")
	errs, of := []error{err}, map[string]*endpoint.Record{}
	for _, r := range records {
		if overlay.Clustered(r) {
			of[r.Network] = r
		}
	}
	for _, r := range of {
		_, vxlan, err := overlay.Devices(r)
		errs = append(errs, err, a.takeDown(vxlan))
	}
	return errors.Join(errs...)
}

func (a *Agent) takeDown(device string) error {
	link, err := a.dev.Link(device)
	if errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return a.dev.SetDown(link)
}

// keepAddresses makes sure that what the containers here use is this host's to
// give. Addresses that were freed meanwhile it takes again; a container with
// one that another host has got is evicted. With ask it believes etcd only, not
// the view, which may be behind.
func (a *Agent) keepAddresses(ctx context.Context, ask bool) error {
	records, err := attach.Records(a.Store, "")
	if err != nil {
		return err
	}
	a.telling.Lock()
	before := maps.Clone(a.evicted)
	a.telling.Unlock()
	evicted, errs := map[endpoint.Key]error{}, []error(nil)
	for _, r := range records {
		was := before[r.Key]
		if was != nil {
			evicted[r.Key] = was // until etcd says otherwise
		}
		if a.published(r) == nil {
			continue
		}
		err := a.keepAddressesOf(ctx, r, ask)
		switch {
		case errors.Is(err, cluster.ErrClaimed):
			evicted[r.Key] = evictionOf(r, err)
			err = a.unplug(r)
		case err == nil && (was != nil || before == nil): // the agent before this one may have evicted it
			if err = a.plug(r); err == nil {
				delete(evicted, r.Key)
			}
		}
		errs = append(errs, err)
	}
	a.evict(before, evicted)
	return errors.Join(errs...)
}

func (a *Agent) keepAddressesOf(ctx context.Context, r *endpoint.Record, ask bool) error {
	view := a.cluster.View()
	doubtful := slices.DeleteFunc(slices.Clone(r.Addresses), func(p netip.Prefix) bool {
		return !ask && view.OwnerOf(r.Network, p.Addr()) == a.Name
	})
	if len(doubtful) == 0 {
		return nil
	}
	_, pool, err := a.decoded(view.Network(r.Network))
	if err != nil {
		return err
	}
	for _, p := range doubtful {
		// Where the network's ranges were others then, there is nobody to ask.
		for _, set := range pool.Ranges {
			if !slices.ContainsFunc(set, func(in ipam.Range) bool { return in.Subnet.Contains(p.Addr()) }) {
				continue
			}
			if err := a.cluster.AcquireAddress(ctx, r.Network, set, p.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}
