package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// Check compares the record with the kernel: both ends of the container's
// pair, the bridge, the VXLAN device, and the packet filter.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	if _, err := parse(&req.Network); err != nil {
		return err
	}
	r, err := attach.Recorded(d.store, req)
	if err != nil {
		return err
	}
	was, err := drivenOf(r)
	if err != nil {
		return err
	}
	if err := errors.Join(compareInner(req, r), compareOuter(r, was), checkShortcut(r, was)); err != nil {
		return fmt.Errorf("check %s: %w", r.Key, err)
	}
	return nil
}

func compareInner(req *plugins.Request, r *endpoint.Record) error {
	ns, err := attach.Open(req)
	if err != nil {
		return err
	}
	defer ns.Close()
	dev, err := netdev.In(ns)
	if err != nil {
		return err
	}
	defer dev.Close()
	link, err := dev.Link(req.IfName)
	if err != nil {
		return err
	}
	attrs := link.Attrs()
	switch {
	case !bytes.Equal(attrs.HardwareAddr, r.MAC):
		return fmt.Errorf("%s has MAC %s, not %s", attrs.Name, attrs.HardwareAddr, r.MAC)
	case attrs.Flags&net.FlagUp == 0:
		return fmt.Errorf("%s is down", attrs.Name)
	case r.Result != nil && attrs.MTU != r.Result.Interfaces[0].MTU:
		return fmt.Errorf("%s has MTU %d, not %d", attrs.Name, attrs.MTU, r.Result.Interfaces[0].MTU)
	}
	have, err := dev.Addrs(link)
	if err != nil {
		return err
	}
	for _, want := range r.Addresses {
		if !slices.Contains(have, want) {
			return fmt.Errorf("%s does not have the address %s", attrs.Name, want)
		}
	}
	return nil
}

func compareOuter(r *endpoint.Record, was driven) error {
	dev, err := netdev.Here()
	if err != nil {
		return err
	}
	defer dev.Close()
	bridge, err := dev.Link(was.Bridge)
	if err != nil {
		return err
	}
	for _, name := range []string{r.HostIfName, was.VXLAN} {
		port, err := dev.Link(name)
		if err != nil {
			return err
		}
		if port.Attrs().MasterIndex != bridge.Attrs().Index {
			return fmt.Errorf("%s is not on bridge %s", name, was.Bridge)
		}
		if port.Attrs().Flags&net.FlagUp == 0 {
			return was.down(name)
		}
	}
	if err := was.checkFilter(); err != nil || len(r.Addresses) == 0 {
		return err
	}
	fw, err := firewall.Open("")
	if err != nil {
		return err
	}
	return fw.Check(was.policy(), was.member(r))
}

func checkShortcut(r *endpoint.Record, was driven) error {
	host, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer host.Close()
	return was.shortcut().Check(host, r)
}

// down is for a device of the host that should be up. What the agent takes
// down it does on purpose.
func (was driven) down(name string) error {
	if was.ControlPlane != Etcd {
		return fmt.Errorf("%s is down", name)
	}
	return fmt.Errorf("%s is down; berth agent status says whether the agent took it down: because etcd has not answered for too long, or because another host has got the container's address, which needs a restart then", name)
}
