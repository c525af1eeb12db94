package macvlan

import (
	"context"
	"errors"
	"net"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// wiring is an Add between the recorded intent and the result.
type wiring struct {
	*Driver
	conf   *config
	parent *parent
	a      *attach.Attachment
	req    *plugins.Request
	driven driven
	dev    *attach.Device // the container's
}

// connect makes, configures and announces the container's device. What it has
// made is undone by the attachment's Abort.
func (w *wiring) connect(ctx context.Context, mac net.HardwareAddr) (*plugins.Result, error) {
	if w.a.Stale != nil {
		if err := remove(attach.DelRequest(w.a.Stale, w.req.Network), w.a.Stale); err != nil {
			return nil, err
		}
	}
	if w.driven.shares() {
		w.a.OnAbort(func() error { return w.leave(w.a.Record, w.driven) })
	}
	if err := w.createOnParent(ctx, mac); err != nil {
		return nil, err
	}
	defer w.dev.Close()
	if err := w.bringUp(ctx); err != nil {
		return nil, err
	}
	if err := w.a.Delegate(ctx); err != nil {
		return nil, err
	}
	if err := w.dev.Configure(attach.Setup{Routes: w.a.Routes(), Announce: netdev.Announcements, Resolve: true}); err != nil {
		return nil, err
	}
	if w.conf.HostAccess {
		if err := w.openHostAccess(ctx); err != nil {
			return nil, err
		}
	}
	return w.result(), nil
}

// createOnParent makes the parent first, where it is made on demand. Nobody
// takes it away meanwhile: the guard is held.
func (w *wiring) createOnParent(ctx context.Context, mac net.HardwareAddr) error {
	if w.parent.made {
		release, err := w.guard(ctx, w.parent.name)
		if err != nil {
			return err
		}
		defer release()
		if err := w.parent.ensure(w.vlan); err != nil {
			return err
		}
	}
	return w.create(mac)
}

// abort undoes what connect did and returns cause joined with what went wrong.
func (w *wiring) abort(ctx context.Context, cause error) error {
	if !w.driven.shares() {
		return w.a.Abort(cause)
	}
	release, err := w.guard(context.WithoutCancel(ctx), w.parent.name)
	if err != nil {
		return w.a.Abort(errors.Join(cause, err))
	}
	defer release() // after the record is erased
	return w.a.Abort(cause)
}

// create makes the device, down.
func (w *wiring) create(mac net.HardwareAddr) (err error) {
	m := netdev.Macvlan{Name: w.req.IfName, Mode: w.conf.Mode, MAC: mac, MTU: w.conf.MTU, BCQueueLen: w.conf.BCQueueLen}
	w.dev, err = w.a.Make(w.req.IfName, func() error {
		if err := w.parent.on.AddMacvlan(m, w.parent.dev, w.a.Container); err != nil {
			return w.explain(err)
		}
		w.a.OnAbort(func() error { return removeDevice(w.a.Container, w.req.IfName) })
		return nil
	})
	if err != nil {
		return err
	}
	if m.Mode == netdev.MacvlanPassthru && mac != nil {
		// The kernel gave it the parent's, whatever was asked for.
		if err := w.dev.SetMAC(mac); err != nil {
			return err
		}
	}
	w.a.Record.MAC = endpoint.MAC(w.dev.MAC)
	return nil
}

func (w *wiring) result() *plugins.Result {
	dns := w.conf.DNS
	r := w.a.Result(plugins.Interface{Name: w.dev.Name, MAC: w.dev.MAC, MTU: w.dev.MTU, Sandbox: w.req.NetNS})
	if dns.Domain != "" || len(dns.Nameservers)+len(dns.Search)+len(dns.Options) > 0 {
		r.DNS = dns
	}
	return r
}
