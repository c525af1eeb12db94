package macvlan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// Check compares the record with the kernel: the device's mode, parent, MAC,
// MTU and state, and its addresses.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	conf, err := parse(req.Config)
	if err != nil {
		return err
	}
	r, err := attach.Recorded(d.store, req)
	if err != nil {
		return err
	}
	if err := d.compare(ctx, conf, r, req); err != nil {
		return fmt.Errorf("check %s: %w", r.Key, err)
	}
	return nil
}

func (d *Driver) compare(ctx context.Context, conf *config, r *endpoint.Record, req *plugins.Request) error {
	ns, err := attach.Open(req)
	if err != nil {
		return err
	}
	defer ns.Close()
	if id, err := ns.ID(); err != nil || id != r.NetNSID {
		return errors.Join(err, fmt.Errorf("netns %s is not the one that it was attached in", req.NetNS))
	}
	inner, err := netdev.In(ns)
	if err != nil {
		return err
	}
	defer inner.Close()
	link, err := inner.Link(req.IfName)
	if err != nil {
		return err
	}
	p, err := d.openParent(conf, req.Name, req.NetNS)
	if err != nil {
		return err
	}
	defer p.close()
	if p.link == nil {
		return fmt.Errorf("parent %s is gone", p.name)
	}
	return errors.Join(compareDevice(conf, r, link, p), compareAddresses(inner, link, r), attach.DelegateCheck(ctx, req))
}

// compareDevice names the first difference.
func compareDevice(conf *config, r *endpoint.Record, link netdev.Link, p *parent) error {
	m, ok := netdev.MacvlanOf(link)
	attrs := link.Attrs()
	switch {
	case !ok:
		return fmt.Errorf("%s is a %s device, not macvlan", attrs.Name, link.Type())
	case m.Mode != conf.Mode:
		return fmt.Errorf("%s is in mode %s, not %s", attrs.Name, m.Mode, conf.Mode)
	case attrs.ParentIndex != p.link.Attrs().Index:
		return fmt.Errorf("%s is on the device with index %d, not on %s (%d)", attrs.Name, attrs.ParentIndex, p.name, p.link.Attrs().Index)
	case !bytes.Equal(m.MAC, r.MAC):
		return fmt.Errorf("%s has MAC %s, not %s", attrs.Name, m.MAC, r.MAC)
	case r.Result != nil && m.MTU != r.Result.Interfaces[0].MTU:
		return fmt.Errorf("%s has MTU %d, not %d", attrs.Name, m.MTU, r.Result.Interfaces[0].MTU)
	case attrs.Flags&net.FlagUp == 0:
		return fmt.Errorf("%s is down", attrs.Name)
	}
	return nil
}

func compareAddresses(h *netdev.Handle, link netdev.Link, r *endpoint.Record) error {
	have, err := h.Addrs(link)
	if err != nil {
		return err
	}
	for _, want := range r.Addresses {
		if !slices.Contains(have, want) {
			return fmt.Errorf("%s lacks address %s", link.Attrs().Name, want)
		}
	}
	return nil
}

// Status tells whether the next Add would find a parent that is up.
func (d *Driver) Status(ctx context.Context, network *plugins.Network) error {
	conf, err := parse(network.Config)
	if err != nil || conf.LinkInContainer {
		return err
	}
	p, err := d.openParent(conf, network.Name, "")
	if err != nil {
		return plugins.Errorf(plugins.CodeNotAvailable, "network %s: %w", network.Name, err)
	}
	defer p.close()
	if base := p.stands(); base != nil && base.Attrs().Flags&net.FlagUp == 0 {
		return plugins.Errorf(plugins.CodeNotAvailable, "network %s: master %s is down", network.Name, base.Attrs().Name)
	}
	if conf.IPAM == nil {
		return nil
	}
	return attach.AddressStatus(ctx, d.store, network)
}
