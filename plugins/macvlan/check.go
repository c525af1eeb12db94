package macvlan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	inner, err := netdev.DialIn(ns)
	if err != nil {
		return err
	}
	defer inner.Close()
	dev, err := inner.Device(req.IfName)
	if err != nil {
		return err
	}
	p, err := d.openParent(conf, req.Name, req.NetNS)
	if err != nil {
		return err
	}
	defer p.close()
	if p.dev == nil {
		return fmt.Errorf("parent %s is gone", p.name)
	}
	return errors.Join(compareDevice(conf, r, dev, p), compareAddresses(inner, dev, r), attach.DelegateCheck(ctx, req))
}

// compareDevice names the first difference.
func compareDevice(conf *config, r *endpoint.Record, dev *netdev.Device, p *parent) error {
	switch {
	case dev.Macvlan == nil:
		return fmt.Errorf("%s is a %s device, not macvlan", dev.Name, dev.Kind)
	case dev.Macvlan.Mode != conf.Mode:
		return fmt.Errorf("%s is in mode %s, not %s", dev.Name, dev.Macvlan.Mode, conf.Mode)
	case dev.Link != p.dev.Index:
		return fmt.Errorf("%s is on the device with index %d, not on %s (%d)", dev.Name, dev.Link, p.name, p.dev.Index)
	case !bytes.Equal(dev.MAC, r.MAC):
		return fmt.Errorf("%s has MAC %s, not %s", dev.Name, dev.MAC, r.MAC)
	case r.Result != nil && dev.MTU != r.Result.Interfaces[0].MTU:
		return fmt.Errorf("%s has MTU %d, not %d", dev.Name, dev.MTU, r.Result.Interfaces[0].MTU)
	case !dev.Up:
		return fmt.Errorf("%s is down", dev.Name)
	}
	return nil
}

func compareAddresses(c *netdev.Conn, dev *netdev.Device, r *endpoint.Record) error {
	have, err := c.Addrs(dev.Index)
	if err != nil {
		return err
	}
	for _, want := range r.Addresses {
		if !slices.ContainsFunc(have, func(a netdev.Addr) bool { return a.Prefix == want }) {
			return fmt.Errorf("%s lacks address %s", dev.Name, want)
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
	if base := p.stands(); base != nil && !base.Up {
		return plugins.Errorf(plugins.CodeNotAvailable, "network %s: master %s is down", network.Name, base.Name)
	}
	if conf.IPAM == nil {
		return nil
	}
	return attach.AddressStatus(ctx, d.store, network)
}
