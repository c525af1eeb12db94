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
	inner  *netdev.Handle // bound to the container's namespace
}

// connect makes, configures and announces the container's device. What it has
// made is undone by the attachment's Abort.
func (w *wiring) connect(ctx context.Context, mac net.HardwareAddr) (_ *plugins.Result, err error) {
	if w.inner, err = netdev.In(w.a.Container); err != nil {
		return nil, err
	}
	defer w.inner.Close()
	if w.a.Stale != nil {
		if err := remove(attach.DelRequest(w.a.Stale, w.req.Network), w.a.Stale); err != nil {
			return nil, err
		}
	}
	if w.driven.shares() {
		w.a.OnAbort(func() error { return w.leave(w.a.Record, w.driven) })
	}
	link, err := w.createOnParent(ctx, mac)
	if err != nil {
		return nil, err
	}
	if err := w.bringUp(ctx, link); err != nil {
		return nil, err
	}
	if err := w.a.Delegate(ctx); err != nil {
		return nil, err
	}
	if err := w.a.Configure(w.inner, link); err != nil {
		return nil, err
	}
	if w.conf.HostAccess {
		if err := w.openHostAccess(ctx); err != nil {
			return nil, err
		}
	}
	if err := w.a.Announce(w.inner, link); err != nil {
		return nil, err
	}
	return w.result(link), nil
}

// createOnParent makes the parent first, where it is made on demand. Nobody
// takes it away meanwhile: the guard is held.
func (w *wiring) createOnParent(ctx context.Context, mac net.HardwareAddr) (netdev.Link, error) {
	if w.parent.made {
		release, err := w.guard(ctx, w.parent.name)
		if err != nil {
			return nil, err
		}
		defer release()
		if err := w.parent.ensure(w.vlan); err != nil {
			return nil, err
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

// create makes the device, down, and sets what must be set before it is up.
func (w *wiring) create(mac net.HardwareAddr) (netdev.Link, error) {
	m := netdev.Macvlan{Name: w.req.IfName, Mode: w.conf.Mode, MAC: mac, MTU: w.conf.MTU, BCQueueLen: w.conf.BCQueueLen}
	if err := w.parent.on.AddMacvlan(m, w.parent.link, w.a.Container); err != nil {
		return nil, w.explain(err)
	}
	w.a.OnAbort(func() error { return removeDevice(w.a.Container, w.req.IfName) })
	link, err := w.inner.Link(m.Name)
	if err != nil {
		return nil, err
	}
	if m.Mode == netdev.MacvlanPassthru && mac != nil {
		// The kernel gave it the parent's, whatever was asked for.
		if err := w.inner.SetMAC(link, mac); err != nil {
			return nil, err
		}
		link.Attrs().HardwareAddr = mac
	}
	w.a.Record.MAC = endpoint.MAC(link.Attrs().HardwareAddr)
	return link, w.a.Prepare(w.inner, link)
}

func (w *wiring) result(link netdev.Link) *plugins.Result {
	attrs, dns := link.Attrs(), w.conf.DNS
	r := w.a.Result(plugins.Interface{Name: attrs.Name, MAC: attrs.HardwareAddr, MTU: attrs.MTU, Sandbox: w.req.NetNS})
	if dns.Domain != "" || len(dns.Nameservers)+len(dns.Search)+len(dns.Options) > 0 {
		r.DNS = dns
	}
	return r
}
