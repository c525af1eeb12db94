// Package macvlan gives a container a device with a hardware address of its
// own on one of the host's devices, the parent: on the parent's segment the
// container is a machine like any other.
package macvlan

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct {
	store *state.Store
	sysfs string // where a wireless parent shows itself
}

// New is the driver with its records in store.
func New(store *state.Store) *Driver { return &Driver{store: store, sysfs: "/sys"} }

// driven is what the driver's records remember.
type driven struct {
	Parent      string             `json:"parent"`
	InContainer bool               `json:"inContainer,omitempty"`
	Mode        netdev.MacvlanMode `json:"mode"`
}

func drivenOf(r *endpoint.Record) (d driven, err error) {
	if err = json.Unmarshal(r.Driven, &d); err != nil {
		err = fmt.Errorf("decode record of %s: %w", r.Key, err)
	}
	return d, err
}

// Add makes the container's device.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	conf, err := parse(req.Config)
	if err != nil {
		return nil, err
	}
	mac, err := conf.mac(req)
	if err != nil {
		return nil, err
	}
	p, err := d.openParent(conf, req.NetNS)
	if err != nil {
		return nil, err
	}
	defer p.close()
	a, err := attach.Begin(ctx, d.store, req, attach.Spec{
		IPAM:   conf.IPAM,
		Driven: driven{Parent: p.name(), InContainer: conf.LinkInContainer, Mode: conf.Mode},
	})
	if err != nil {
		return nil, err
	}
	w := &wiring{Driver: d, conf: conf, parent: p, a: a, req: req}
	result, err := w.connect(ctx, mac)
	if err != nil {
		return nil, a.Abort(err)
	}
	return result, a.Done(result)
}

// Del removes the container's device.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	return attach.End(ctx, d.store, req, func(r *endpoint.Record) error {
		return remove(req, r)
	})
}

// GC removes what the request does not list.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	return attach.GC(ctx, d.store, req, d.Del)
}
