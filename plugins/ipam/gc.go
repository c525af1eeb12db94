package ipam

import (
	"context"

	"github.com/berth-net/berth/endpoint"
	leases "github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// GC frees the network's leases of attachments that are no longer valid.
// Those with an endpoint's record are a driver's, and freed with the record.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	valid := make(map[plugins.Attachment]bool, len(req.Valid))
	for _, v := range req.Valid {
		valid[v] = true
	}
	stale, err := d.stale(req.Name, valid)
	if err != nil || len(stale) == 0 {
		return err
	}
	return d.store.Update(func(tx *state.Tx) error {
		for _, key := range stale {
			if err := leases.Release(tx, key); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *Driver) stale(network string, valid map[plugins.Attachment]bool) (keys []endpoint.Key, err error) {
	err = d.store.View(func(tx *state.Tx) error {
		held, err := leases.Holdings(tx, network)
		for _, h := range held {
			if !valid[plugins.Attachment{ContainerID: h.ContainerID, IfName: h.IfName}] && !endpoint.Has(tx, h.Key) {
				keys = append(keys, h.Key)
			}
		}
		return err
	})
	return keys, err
}
