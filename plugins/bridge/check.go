package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// ErrDiffers says that the kernel has something else than Add made.
var ErrDiffers = errors.New("differs from what ADD made")

func differs(what string, got, want any) error {
	return plugins.Errorf(plugins.CodeInternal, "check: %s is %v, not %v: %w", what, got, want, ErrDiffers)
}

// Check compares the devices, addresses, routes and rules with the record.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	r, err := attach.Recorded(d.store, req)
	if err != nil {
		return err
	}
	if err := attach.DelegateCheck(ctx, req); err != nil {
		return err
	}
	n, e, conf, err := policy(r)
	if err != nil {
		return err
	}
	if err := checkHost(r, conf); err != nil {
		return err
	}
	container, err := attach.Open(req)
	if err != nil {
		return err
	}
	defer container.Close()
	if err := container.Do(func() error { return checkContainer(r, conf) }); err != nil {
		return err
	}
	fw, err := firewall.Open(conf.backend())
	if err != nil {
		return err
	}
	return fw.Check(n, e)
}

func checkHost(r *endpoint.Record, conf *Config) error {
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	bridge, err := c.Device(conf.Bridge)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	port, err := c.Device(r.HostIfName)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	switch isolated := conf.PortIsolation || conf.noICC(); {
	case !bridge.Up:
		return differs("bridge "+bridge.Name, "down", "up")
	case !port.Up:
		return differs("link "+port.Name, "down", "up")
	case port.Master != bridge.Index:
		return differs("master of "+port.Name, port.Master, bridge.Index)
	case port.Port == nil || port.Port.Hairpin == nil || *port.Port.Hairpin != conf.HairpinMode:
		return differs("hairpin mode of "+port.Name, !conf.HairpinMode, conf.HairpinMode)
	case port.Port.Isolated != nil && *port.Port.Isolated != isolated:
		return differs("isolation of "+port.Name, !isolated, isolated)
	}
	if err := conf.shortcut().Check(c, r); err != nil {
		return err
	}
	if err := checkVLANs(c, conf, bridge, port, conf.memberships()); err != nil || !conf.IsGateway || r.Result == nil {
		return err
	}
	var gateways []netip.Prefix
	for _, ip := range r.Result.IPs {
		gateways = append(gateways, netip.PrefixFrom(ip.Gateway, ip.Address.Bits()))
	}
	return checkGateway(c, conf, bridge, gateways)
}

func checkGateway(c *netdev.Conn, conf *Config, bridge *netdev.Device, addresses []netip.Prefix) error {
	name := conf.gatewayDevice()
	if name == bridge.Name {
		return checkAddrs(c, bridge, addresses)
	}
	dev, err := c.Device(name)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if !dev.Up {
		return differs("link "+name, "down", "up")
	}
	port, err := c.Device(gatewayPort(name))
	switch {
	case errors.Is(err, netdev.ErrNotFound): // somebody else's device
		return checkAddrs(c, dev, addresses)
	case err != nil:
		return err
	case !port.Up:
		return differs("link "+port.Name, "down", "up")
	case port.Master != bridge.Index:
		return differs("master of "+port.Name, port.Master, bridge.Index)
	}
	own := uint16(conf.VLAN)
	return errors.Join(checkVLANs(c, conf, bridge, port, []netdev.VLANs{{First: own, Last: own, Own: true}}), checkAddrs(c, dev, addresses))
}

func checkAddrs(c *netdev.Conn, dev *netdev.Device, wanted []netip.Prefix) error {
	addrs, err := c.Addrs(dev.Index)
	if err != nil {
		return err
	}
	for _, want := range wanted {
		if !slices.ContainsFunc(addrs, func(a netdev.Addr) bool { return a.Prefix == want && !a.Failed }) {
			return differs("address of "+dev.Name, "missing", want)
		}
	}
	return nil
}

// madeMTU is what Add gave the container's interface: the configuration's, or
// the bridge's at the time.
func madeMTU(r *endpoint.Record, conf *Config) int {
	if r.Result != nil {
		for _, i := range r.Result.Interfaces {
			if i.Name == r.IfName && i.Sandbox != "" {
				return i.MTU
			}
		}
	}
	return conf.MTU
}

// checkContainer runs inside the container's namespace.
func checkContainer(r *endpoint.Record, conf *Config) error {
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	dev, err := c.Device(r.IfName)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	switch {
	case dev.Up == conf.DisableContainerInterface:
		return differs("link "+dev.Name+" up", dev.Up, !dev.Up)
	case dev.MAC.String() != r.MAC.String():
		return differs("MAC of "+dev.Name, dev.MAC, r.MAC)
	}
	if mtu := madeMTU(r, conf); mtu != 0 && dev.MTU != mtu {
		return differs("MTU of "+dev.Name, dev.MTU, mtu)
	}
	if err := checkAddrs(c, dev, r.Addresses); err != nil || r.Result == nil {
		return err
	}
	routes, err := c.Routes(dev.Index)
	if err != nil {
		return err
	}
	for _, want := range r.Result.Routes {
		if !slices.ContainsFunc(routes, func(have netdev.Route) bool {
			return have.Dst == want.Dst.Masked() && (!want.Gateway.IsValid() || have.Gateway == want.Gateway)
		}) {
			return differs("route to "+want.Dst.String()+" through "+dev.Name, "missing", want.Gateway)
		}
	}
	return nil
}
