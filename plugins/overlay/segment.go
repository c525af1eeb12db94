package overlay

import (
	"context"
	"errors"
	"net/netip"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// guardName is held while the host's part of any segment is made or removed:
// the networks share a table of the packet filter.
const guardName = "overlay segments"

// ensure makes the host's part of the segment what the configuration says,
// where it is not, and returns its devices. The caller's record must exist: it
// keeps a Del at the same time from removing them.
func (s *segment) ensure(ctx context.Context, store *state.Store) (bridge, vxlan *netdev.Device, err error) {
	guard, err := store.Guard(ctx, guardName)
	if err != nil {
		return nil, nil, err
	}
	defer guard.Release()
	if bridge, vxlan, err = s.finished(); err == nil {
		return bridge, vxlan, nil
	}
	if err := s.make(store); err != nil {
		return nil, nil, err
	}
	return s.finished()
}

// make makes the devices, or mends those that are there.
func (s *segment) make(store *state.Store) (err error) {
	if s.dev, err = netdev.Here(); err != nil {
		return err
	}
	defer s.dev.Close()
	p, err := s.locate(s.dev)
	if err != nil {
		return err
	}
	if err := s.checkRoom(p); err != nil {
		return err
	}
	bridge, err := s.addBridge(p.mtu)
	if err != nil {
		return err
	}
	if err := s.connect(bridge, p); err != nil {
		return errors.Join(err, s.dropNew(store))
	}
	// Who was on a bridge that is gone has no port on this one.
	return s.replug(store, bridge.Attrs().Index)
}

// checkRoom fails where the network's packets have less room than IPv6 needs:
// the kernel would turn it off on the devices.
func (s *segment) checkRoom(p *place) error {
	if !hasFamily(s.gateways, false) || p.mtu >= minMTU {
		return nil
	}
	return plugins.Errorf(plugins.CodeInvalidConfig, "mtu: %s leaves %d bytes to the network's packets, and IPv6 needs %d; raise the underlay's MTU by %d, or give the network no IPv6",
		p.underlay.Attrs().Name, p.mtu, minMTU, minMTU-p.mtu)
}

// dropNew takes back a half made segment when nobody else is on it.
func (s *segment) dropNew(store *state.Store) error {
	var others int
	err := store.View(func(tx *state.Tx) error {
		records, err := endpoint.List(tx, s.network)
		others = len(records) - 1 // the caller's own
		return err
	})
	if err != nil || others > 0 {
		return err
	}
	return s.drop()
}

func (s *segment) drop() error {
	return errors.Join(s.disconnect(), s.dev.DeleteLink(s.Bridge))
}

// addBridge makes the bridge and brings it up with the gateways. Its MAC is
// theirs.
func (s *segment) addBridge(mtu int) (netdev.Link, error) {
	bridge, err := s.dev.EnsureBridge(s.Bridge, netdev.AliasPrefix+s.network+" bridge", gatewayMAC(s.VNI), mtu)
	if err != nil {
		return nil, err
	}
	conf := "ipv6/conf/" + s.Bridge
	for _, sysctl := range [][2]string{{conf + "/accept_ra", "0"}, {conf + "/accept_dad", "0"}, {conf + "/disable_ipv6", s.withoutIPv6()}} {
		if err := s.dev.SetSysctl(sysctl[0], sysctl[1]); err != nil {
			return nil, err
		}
	}
	if err := s.dev.SetMTU(bridge, mtu); err != nil {
		return nil, err
	}
	for _, g := range s.gateways {
		if err := s.dev.AddAddr(bridge, g); err != nil {
			return nil, err
		}
	}
	if err := s.dev.SetUp(bridge); err != nil {
		return nil, err
	}
	return bridge, s.dev.Forward(hasFamily(s.gateways, true), hasFamily(s.gateways, false))
}

// addGateways is for those that another's IPAM plugin told.
func (s *segment) addGateways(late []netip.Prefix) error {
	dev, err := netdev.Here()
	if err != nil {
		return err
	}
	defer dev.Close()
	bridge, err := dev.Link(s.Bridge)
	if err != nil {
		return err
	}
	guarded := s.anycast()
	guarded.Gateways = addrsOf(late)
	if err := firewall.KeepGateway(guarded); err != nil {
		return err
	}
	if hasFamily(late, false) {
		if err := dev.SetSysctl("ipv6/conf/"+s.Bridge+"/disable_ipv6", "0"); err != nil {
			return err
		}
	}
	for _, g := range late {
		if err := dev.AddAddr(bridge, g); err != nil {
			return err
		}
	}
	return dev.Forward(hasFamily(late, true), hasFamily(late, false))
}

func (s *segment) withoutIPv6() string {
	if hasFamily(s.gateways, false) {
		return "0"
	}
	return "1"
}

func hasFamily(list []netip.Prefix, is4 bool) bool {
	for _, p := range list {
		if p.Addr().Is4() == is4 {
			return true
		}
	}
	return false
}

// dropUnused removes the host's part of a segment that no record is on.
func (d *Driver) dropUnused(ctx context.Context, network string, was driven) error {
	guard, err := d.store.Guard(ctx, guardName)
	if err != nil {
		return err
	}
	defer guard.Release()
	used := false
	if err := d.store.View(func(tx *state.Tx) error { used = endpoint.Any(tx, network); return nil }); err != nil || used {
		return err
	}
	dev, err := netdev.Here()
	if err != nil {
		return err
	}
	defer dev.Close()
	// The rules go when nobody can reach the bridge any more.
	gone := dev.DeleteLink(was.VXLAN)
	fw, err := firewall.Open("")
	if err == nil {
		err = fw.Forget(was.policy())
	}
	if was.Mesh != "" && gone == nil {
		err = errors.Join(err, firewall.Unseal(was.sealed()))
	}
	return errors.Join(err, gone,
		firewall.ForgetGateway(was.anycast()),
		dev.DeleteLink(was.Bridge))
}
