package attach

import (
	"context"
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// Del is a driver's Del.
type Del func(context.Context, *plugins.Request) error

// GC is a driver's GC: it calls del for every attachment of the network that
// this driver recorded and req does not list, has a delegated IPAM plugin do
// the same, and goes on past errors. A network may be a chain of several
// plugins; each collects only its own.
func GC(ctx context.Context, store *state.Store, req *plugins.GCRequest, del Del) error {
	records, err := Records(store, req.Name)
	valid := make(map[plugins.Attachment]bool, len(req.Valid))
	for _, v := range req.Valid {
		valid[v] = true
	}
	errs := []error{err}
	for _, r := range records {
		if r.Driver != req.Type || valid[plugins.Attachment{ContainerID: r.ContainerID, IfName: r.IfName}] {
			continue
		}
		_, err := Reap(ctx, store, r, req.Network, del)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, delegateGC(ctx, req))...)
}

// Records lists the attachments of one network, or all where it is empty.
func Records(store *state.Store, network string) (records []*endpoint.Record, err error) {
	err = store.View(func(tx *state.Tx) (err error) {
		records, err = endpoint.List(tx, network)
		return err
	})
	return records, err
}

// Reap ends by del what a record names, and tells whether it did: not where
// an Add or Del of that attachment is under way, and not where the record is
// no longer the one that the caller judged. net has the values for what the
// record does not say; it may be zero.
func Reap(ctx context.Context, store *state.Store, r *endpoint.Record, net plugins.Network, del Del) (bool, error) {
	g, err := store.TryGuard(guardName(r.Key))
	if errors.Is(err, state.ErrBusy) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer g.Release()
	var now *endpoint.Record
	err = store.View(func(tx *state.Tx) (err error) {
		now, err = endpoint.Get(tx, r.Key)
		return err
	})
	if errors.Is(err, endpoint.ErrNotFound) {
		return false, nil
	}
	if err != nil || !now.Created.Equal(r.Created) || now.Phase != r.Phase {
		return false, err
	}
	return true, del(withGuard(ctx, r.Key), DelRequest(now, net))
}

// ReapDead ends every attachment of the network and driver whose namespace is
// gone, and tells how many it ended: their addresses and ports are free then.
func ReapDead(ctx context.Context, store *state.Store, net plugins.Network, del Del) (n int, err error) {
	records, err := Records(store, net.Name)
	errs := []error{err}
	for _, r := range records {
		if r.Driver != net.Type || r.Alive() {
			continue
		}
		done, err := Reap(ctx, store, r, net, del)
		if done && err == nil {
			n++
		}
		errs = append(errs, err)
	}
	err = store.Update(func(tx *state.Tx) error {
		dead, err := ipam.ReleaseDead(tx, net.Name)
		n += len(dead)
		return err
	})
	return n, errors.Join(append(errs, err)...)
}

// DelRequest is the request that undoes what the record names, for when no
// caller brings one. The configuration is the one that Add was given. A
// namespace that is dead is left out: its path may be another's by now.
func DelRequest(r *endpoint.Record, net plugins.Network) *plugins.Request {
	if len(r.Config) > 0 {
		net.Config = r.Config
	}
	if len(r.Path) > 0 {
		net.Path = r.Path
	}
	net.Name, net.Type = r.Network, r.Driver
	path := r.NetNS
	if !r.Alive() {
		path = ""
	}
	return &plugins.Request{
		Network: net, ContainerID: r.ContainerID, NetNS: path, IfName: r.IfName, Owner: r.Owner, Prev: r.Result,
		Args: plugins.Args{Raw: r.Args},
	}
}
