// Package macvlan gives a container a device with a hardware address of its
// own on one of the host's devices, the parent: on the parent's segment the
// container is a machine like any other.
package macvlan

import (
	"context"
	"fmt"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct {
	store *state.Store
	sysfs string // where a wireless parent shows itself
	vlan  func(c *netdev.Conn, name string, base *netdev.Device, id uint16) error
}

// New is the driver with its records in store.
func New(store *state.Store) *Driver {
	return &Driver{store: store, sysfs: "/sys", vlan: (*netdev.Conn).AddVLAN}
}

// driverName is the type in a configuration and in records.
const driverName = "macvlan"

// driven is what the driver's records remember.
type driven struct {
	Parent      string             `json:"parent"`
	InContainer bool               `json:"inContainer,omitempty"`
	Mode        netdev.MacvlanMode `json:"mode"`
	Made        bool               `json:"made,omitempty"`       // the parent is berth's, and goes with its last user
	HostAccess  bool               `json:"hostAccess,omitempty"` // the shim and its routes are
}

// shares tells a record that keeps something on the host with others.
func (o driven) shares() bool { return o.Made || o.HostAccess }

func drivenOf(r *endpoint.Record) (d driven, err error) {
	if err = coldjson.Unmarshal(r.Driven, &d); err != nil {
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
	p, err := d.openParent(conf, req.Name, req.NetNS)
	if err != nil {
		return nil, err
	}
	defer p.close()
	o := driven{Parent: p.name, InContainer: conf.LinkInContainer, Mode: conf.Mode, Made: p.made, HostAccess: conf.HostAccess}
	a, err := attach.Begin(ctx, d.store, req, attach.Spec{IPAM: conf.IPAM, Driven: o, Del: d.Del})
	if err != nil {
		return nil, err
	}
	w := &wiring{Driver: d, conf: conf, parent: p, a: a, req: req, driven: o}
	result, err := w.connect(ctx, mac)
	if err != nil {
		return nil, w.abort(ctx, err)
	}
	return result, a.Done(result)
}

// Del removes the container's device and, with the last that needed it, what
// was made for it on the host.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	release := func() {}
	defer func() { release() }()
	return attach.End(ctx, d.store, req, func(r *endpoint.Record) (err error) {
		if err := remove(req, r); err != nil || r == nil {
			return err
		}
		o, err := drivenOf(r)
		if err != nil || !o.shares() {
			return err
		}
		// Held until the record is erased: of two last ones leaving at once
		// the second must not see the first any more.
		if release, err = d.guard(ctx, o.Parent); err != nil {
			return err
		}
		return d.leave(r, o)
	})
}

// GC removes what the request does not list.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	return attach.GC(ctx, d.store, req, d.Del)
}
