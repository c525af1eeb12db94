// Package none gives a container a loopback device and nothing else.
package none

import (
	"context"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct{ store *state.Store }

// New is the driver with its records in store.
func New(store *state.Store) *Driver { return &Driver{store: store} }

// Add brings lo up in a namespace that has no other device.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	if err := refuse(req); err != nil {
		return nil, err
	}
	a, err := attach.Begin(ctx, d.store, req, attach.Spec{})
	if err != nil {
		return nil, err
	}
	result, err := isolate(a.Container, req)
	if err != nil {
		return nil, a.Abort(err)
	}
	return result, a.Done(result)
}

func refuse(req *plugins.Request) error {
	if len(req.Runtime.PortMappings) > 0 {
		return plugins.Errorf(plugins.CodeInvalidConfig,
			"portMappings: a port cannot be published: network %s is of type none, and nothing reaches its containers", req.Name)
	}
	return attach.NoDevice(req)
}

func isolate(container *netns.Handle, req *plugins.Request) (*plugins.Result, error) {
	h, err := netdev.In(container)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := onlyLoopback(h, req); err != nil {
		return nil, err
	}
	lo, err := h.LoopbackUp()
	if err != nil {
		return nil, err
	}
	return &plugins.Result{Interfaces: []plugins.Interface{{
		Name: lo.Attrs().Name, MAC: lo.Attrs().HardwareAddr, MTU: lo.Attrs().MTU, Sandbox: req.NetNS,
	}}}, nil
}

// Check proves that the container is still cut off.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	if _, err := attach.Recorded(d.store, req); err != nil {
		return err
	}
	container, err := attach.Open(req)
	if err != nil {
		return err
	}
	defer container.Close()
	h, err := netdev.In(container)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := onlyLoopback(h, req); err != nil {
		return err
	}
	return loopbackIsUp(h, req)
}

// Del erases the record. It leaves lo up: whoever stays in the namespace, and
// whatever network it joins next, needs it.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	return attach.EndNoDevice(ctx, d.store, req)
}

// GC erases the records of attachments that are no longer valid.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	return attach.GC(ctx, d.store, req, d.Del)
}

// Status is always well: an Add needs nothing of the host.
func (d *Driver) Status(ctx context.Context, net *plugins.Network) error { return nil }
