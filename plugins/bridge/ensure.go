package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// ensureBridge finds the network's bridge or makes it. One that bears berth's
// alias is complete: the alias is set last.
func ensureBridge(c *netdev.Conn, conf *Config, network string) (*netdev.Device, error) {
	dev, err := c.Device(conf.Bridge)
	if errors.Is(err, netdev.ErrNotFound) {
		return createBridge(c, conf, network)
	}
	if err != nil {
		return nil, err
	}
	if dev.Kind != "bridge" {
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "bridge: device %s is there and is no bridge but %q; choose another name", conf.Bridge, dev.Kind)
	}
	if err := ensureFiltering(c, conf, dev); err != nil {
		return nil, err
	}
	if dev.Up && strings.HasPrefix(dev.Alias, netdev.AliasPrefix) && dev.Promisc == conf.PromiscMode {
		return dev, nil
	}
	return dev, prepare(c, dev, "", netdev.LinkChange{Promisc: conf.PromiscMode})
}

func createBridge(c *netdev.Conn, conf *Config, network string) (*netdev.Device, error) {
	mac, err := netdev.StableMAC(network, "", conf.Bridge)
	if err != nil {
		return nil, err
	}
	b := new(netdev.Batch)
	b.AddBridge(conf.Bridge, mac, conf.MTU, netdev.Bridge{VLANFiltering: conf.vlans(), DefaultPVID: 1})
	if err := c.Do(b); err != nil && !errors.Is(err, unix.EEXIST) { // another Add was faster
		return nil, explainVLAN(conf, err)
	}
	dev, err := c.Device(conf.Bridge)
	if err != nil {
		return nil, err
	}
	if conf.vlans() && dev.Bridge != nil && !dev.Bridge.VLANFiltering { // the other Add's network has no VLAN
		if err := filterVLANs(c, conf, dev); err != nil {
			return nil, err
		}
	}
	return dev, prepare(c, dev, netdev.AliasPrefix+network, netdev.LinkChange{Promisc: conf.PromiscMode})
}

// prepare sets what a bridge, or another device with the gateway's addresses,
// needs before it carries anything. It listens to no router: a container could
// be one (CVE-2020-10749). Loopback addresses pass; the packet filter keeps the
// containers from using that (CVE-2020-8558).
func prepare(c *netdev.Conn, dev *netdev.Device, alias string, change netdev.LinkChange) error {
	if err := netdev.WriteSysctl("ipv6/conf/"+dev.Name+"/accept_ra", "0"); err != nil {
		return err
	}
	b := new(netdev.Batch)
	change.Up = true
	b.ChangeLink(dev.Name, change)
	b.PassLoopback(dev)
	if alias != "" {
		b.ChangeLink(dev.Name, netdev.LinkChange{Alias: alias})
	}
	if err := c.Do(b); !netdev.WithoutIPv6(err) {
		return err
	}
	return nil
}

// ensureGateway gives the device the containers' gateway addresses.
func ensureGateway(c *netdev.Conn, conf *Config, dev *netdev.Device, gateways []netip.Prefix) error {
	for _, gw := range gateways {
		b := new(netdev.Batch)
		b.AddAddr(dev.Index, gw, conf.EnableDAD)
		err := c.Do(b)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return fmt.Errorf("give %s its gateway address: %w", dev.Name, err)
		}
		if err := replaceOthers(c, conf, dev, gw); err != nil {
			return err
		}
	}
	return nil
}

// replaceOthers runs when the bridge has just got a gateway address. Another
// address of the same subnet there belongs to an older configuration, or to
// somebody else: forceAddress replaces it, else nothing is changed.
func replaceOthers(c *netdev.Conn, conf *Config, dev *netdev.Device, gw netip.Prefix) error {
	addrs, err := c.Addrs(dev.Index)
	if err != nil {
		return err
	}
	b := new(netdev.Batch)
	for _, a := range addrs {
		if a.Prefix == gw || a.Prefix.Addr().Is4() != gw.Addr().Is4() || a.Prefix.Addr().IsLinkLocalUnicast() || !a.Prefix.Overlaps(gw) {
			continue
		}
		if !conf.ForceAddress {
			undo := new(netdev.Batch)
			undo.DeleteAddr(dev.Index, gw)
			return errors.Join(plugins.Errorf(plugins.CodeInvalidConfig,
				"bridge: %s has the address %s, not %s; set forceAddress to replace it", dev.Name, a.Prefix, gw), c.Do(undo))
		}
		b.DeleteAddr(dev.Index, a.Prefix)
	}
	if b.Len() == 0 {
		return nil
	}
	// The kernel removes an address's secondaries with it, of which the new
	// one was the last.
	b.EnsureAddr(dev.Index, gw)
	return c.Do(b)
}

// enableForwarding lets the host route for the families of the addresses,
// which mostly it does already.
func enableForwarding(gateways []netip.Prefix) error {
	var ip4, ip6 bool
	for _, gw := range gateways {
		ip4, ip6 = ip4 || gw.Addr().Is4(), ip6 || gw.Addr().Is6()
	}
	ip4, ip6 = ip4 && !isOn("ipv4/ip_forward"), ip6 && !isOn("ipv6/conf/all/forwarding")
	if !ip4 && !ip6 {
		return nil
	}
	h, err := netdev.Here()
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Forward(ip4, ip6)
}

func isOn(key string) bool {
	value, err := netdev.ReadSysctl(key)
	return err == nil && value == "1"
}
