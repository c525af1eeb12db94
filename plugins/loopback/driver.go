// Package loopback brings a container's lo up: CRI runtimes ask for a plugin of that name.
//
// It keeps no records, because it makes nothing that could be left over.
package loopback

import (
	"context"
	"errors"
	"net"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct{}

// New is the driver. It has no use for a store.
func New(*state.Store) *Driver { return &Driver{} }

// Add brings lo up, whatever interface the request names, and tells its
// addresses. Behind another plugin of a chain it hands that one's result on.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	var result *plugins.Result
	err := inside(req, func(h *netdev.Handle) error {
		lo, err := h.LoopbackUp()
		if err != nil {
			return err
		}
		result, err = describe(h, lo, req.NetNS)
		return err
	})
	if err == nil && req.Prev != nil {
		return req.Prev, nil
	}
	return result, err
}

// describe refuses an lo with an address that is no loopback address: others
// could reach the container by it.
func describe(h *netdev.Handle, lo netdev.Link, sandbox string) (*plugins.Result, error) {
	addrs, err := h.Addrs(lo)
	if err != nil {
		return nil, err
	}
	result := &plugins.Result{Interfaces: []plugins.Interface{{
		Name: lo.Attrs().Name, MAC: make(net.HardwareAddr, 6), Sandbox: sandbox,
	}}}
	for _, a := range addrs {
		if !a.Addr().IsLoopback() {
			return nil, plugins.Errorf(plugins.CodeInternal, "lo in %s has address %s, which is not a loopback address", sandbox, a)
		}
		result.IPs = append(result.IPs, plugins.IP{Interface: 0, Address: a})
	}
	return result, nil
}

// Check makes sure that lo is up.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	return inside(req, func(h *netdev.Handle) error {
		lo, err := h.Link("lo")
		if err != nil {
			return err
		}
		if lo.Attrs().Flags&net.FlagUp == 0 {
			return plugins.Errorf(plugins.CodeInternal, "lo in %s is down", req.NetNS)
		}
		return nil
	})
}

// Del takes lo down.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	container, err := attach.OpenForDel(req, nil)
	if container == nil || err != nil {
		return err
	}
	defer container.Close()
	h, err := netdev.In(container)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.Link("lo")
	if err != nil {
		return err
	}
	return h.SetDown(lo)
}

// GC has nothing to collect: what the driver did dies with the namespace.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error { return nil }

// Status is always well: an Add needs nothing of the host.
func (d *Driver) Status(ctx context.Context, net *plugins.Network) error { return nil }

func inside(req *plugins.Request, do func(*netdev.Handle) error) error {
	container, err := attach.Open(req)
	if err != nil {
		return err
	}
	h, err := netdev.In(container)
	if err != nil {
		return errors.Join(err, container.Close())
	}
	defer h.Close()
	return errors.Join(do(h), container.Close())
}
