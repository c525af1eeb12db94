package attach

import (
	"context"
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// GC is a driver's GC: it calls del for every attachment of the network that
// this driver recorded and req does not list, and goes on past errors. A
// network may be a chain of several plugins; each collects only its own.
func GC(ctx context.Context, store *state.Store, req *plugins.GCRequest, del func(context.Context, *plugins.Request) error) error {
	var records []*endpoint.Record
	err := store.View(func(tx *state.Tx) (err error) {
		records, err = endpoint.List(tx, req.Name)
		return err
	})
	valid := make(map[plugins.Attachment]bool, len(req.Valid))
	for _, v := range req.Valid {
		valid[v] = true
	}
	errs := []error{err}
	for _, r := range records {
		if r.Driver == req.Type && !valid[plugins.Attachment{ContainerID: r.ContainerID, IfName: r.IfName}] {
			errs = append(errs, del(ctx, DelRequest(r, req.Network)))
		}
	}
	return errors.Join(errs...)
}

// DelRequest is the request that undoes what the record names, for when no
// caller brings one. The configuration is the one that Add was given.
func DelRequest(r *endpoint.Record, net plugins.Network) *plugins.Request {
	if len(r.Config) > 0 {
		net.Config = r.Config
	}
	net.Name, net.Type = r.Network, r.Driver
	return &plugins.Request{
		Network: net, ContainerID: r.ContainerID, NetNS: r.NetNS, IfName: r.IfName, Owner: r.Owner, Prev: r.Result,
	}
}
