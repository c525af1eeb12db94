package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// wiring is one Add under way.
type wiring struct {
	conf *Config
	a    *attach.Attachment
	req  *plugins.Request

	host    *netdev.Conn
	bridge  *netdev.Device
	gateway *netdev.Device   // nil without one; the bridge, or a device in the network's VLAN
	mac     net.HardwareAddr // of the container
	hostMAC net.HardwareAddr
	mtu     int
	dev     *attach.Device // the container's

	warnings []string
}

// connect does the steps of an Add and registers their inverses.
func (w *wiring) connect(ctx context.Context) (_ *plugins.Result, err error) {
	if w.host, err = netdev.Dial(); err != nil {
		return nil, err
	}
	defer w.host.Close()
	if w.a.Stale != nil {
		if err := teardown(w.a.Stale); err != nil {
			return nil, fmt.Errorf("remove what an earlier ADD left: %w", err)
		}
	}
	if err := firewall.CheckListeners(w.a.Record.Ports); err != nil {
		return nil, err
	}
	if w.bridge, err = ensureBridge(w.host, w.conf, w.req.Name); err != nil {
		return nil, err
	}
	if err := w.createPair(); err != nil {
		return nil, err
	}
	defer w.dev.Close()
	if err := w.settleAddresses(ctx); err != nil {
		return nil, err
	}
	gateways := w.gateways()
	if w.conf.IsGateway {
		if w.gateway, err = ensureGatewayDevice(w.host, w.conf, w.bridge, w.req.Name); err != nil {
			return nil, err
		}
		if err := errors.Join(ensureGateway(w.host, w.conf, w.gateway, gateways), enableForwarding(gateways)); err != nil {
			return nil, err
		}
	}
	if err := w.bringUp(); err != nil {
		return nil, err
	}
	if err := w.protect(); err != nil {
		return nil, err
	}
	return w.result(), nil
}

// createPair makes the veth pair with the container's end in its namespace
// from the start, both ends down.
func (w *wiring) createPair() (err error) {
	name := w.a.Record.HostIfName
	if w.mac, err = w.a.MAC(); err != nil {
		return err
	}
	if w.hostMAC, err = netdev.StableMAC(w.req.Name, w.req.ContainerID, name); err != nil {
		return err
	}
	if w.mtu = w.conf.MTU; w.mtu == 0 {
		w.mtu = w.bridge.MTU
	}
	w.a.Record.MAC = endpoint.MAC(w.mac)
	b := new(netdev.Batch)
	w.dev, err = w.a.Make(w.req.IfName, func() error {
		b.AddVeth(&netdev.Veth{
			Name: name, MAC: w.hostMAC, Master: w.bridge.Index, MTU: w.mtu,
			PeerName: w.req.IfName, PeerMAC: w.mac, PeerNS: w.a.Container.FD(),
		})
		if err := w.host.Do(b); err != nil {
			return w.explainPair(err)
		}
		w.a.OnAbort(func() error { return netdev.DeleteLinkHere(name) })
		return nil
	})
	if err != nil {
		return err
	}
	b.Quiet(name)
	hairpin, isolated := w.conf.HairpinMode, w.conf.PortIsolation || w.conf.noICC()
	b.ChangeLink(name, netdev.LinkChange{
		Alias: w.a.Record.Key.Alias(),
		Port:  netdev.Port{Hairpin: &hairpin, Isolated: &isolated},
	})
	if err := w.host.Do(b); err != nil {
		return err
	}
	return w.setVLANs(name)
}

// explainPair tells which of the two names is taken, and a full bridge.
func (w *wiring) explainPair(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return plugins.Errorf(plugins.CodeInvalidEnvironment,
			"CNI_IFNAME: the container has a device %s already, or the host one of the name %s: %w", w.req.IfName, w.a.Record.HostIfName, err)
	case errors.Is(err, unix.EXFULL):
		return plugins.Errorf(plugins.CodeTryAgain, "bridge %s is full: a Linux bridge has at most %d ports: %w", w.conf.Bridge, maxPorts, err)
	}
	return err
}

// maxPorts is BR_MAX_PORTS of the kernel's net/bridge/br_private.h, less port 0.
const maxPorts = 1023

// gateways are the addresses of the bridge, one for each of the container's:
// the gateway that IPAM names or the subnet's first address.
func (w *wiring) gateways() (list []netip.Prefix) {
	for i := range w.a.Addresses {
		addr := &w.a.Addresses[i]
		if !addr.Gateway.IsValid() && w.conf.IsGateway {
			addr.Gateway = addr.Prefix.Masked().Addr().Next()
		}
		if addr.Gateway.IsValid() {
			list = append(list, netip.PrefixFrom(addr.Gateway, addr.Prefix.Bits()))
		}
	}
	return list
}

// settleAddresses has a delegate give the addresses, and finds out which the
// segment behind the bridge leaves free. Both speak on that segment, so that
// both ends of the pair come up before.
func (w *wiring) settleAddresses(ctx context.Context) error {
	if !w.a.Delegated() && !w.a.Probes() {
		return nil
	}
	if err := w.open(); err != nil {
		return err
	}
	if err := w.a.Delegate(ctx); err != nil {
		return err
	}
	return w.dev.Probe()
}

// open brings both ends up, and waits for the kernel to know: the host's end
// forwards, and the bridge too, once it knows of their carriers.
func (w *wiring) open() error {
	b := new(netdev.Batch)
	b.ChangeLink(w.a.Record.HostIfName, netdev.LinkChange{Up: true})
	if err := w.host.Do(b); err != nil || w.conf.DisableContainerInterface {
		return err
	}
	if err := w.dev.Up(); err != nil {
		return err
	}
	return w.host.SyncCarrier(w.a.Record.HostIfName, w.bridge.Name)
}

// bringUp brings the host's end up first, so that the container's has a
// carrier when it announces itself.
func (w *wiring) bringUp() error {
	if err := w.open(); err != nil {
		return err
	}
	if !w.conf.DisableContainerInterface {
		if err := w.configure(); err != nil {
			return err
		}
	}
	return w.limit()
}

// configure sets the container's device up.
func (w *wiring) configure() error {
	err := w.dev.Configure(w.setup())
	if err != nil || !w.conf.EnableDAD {
		return err
	}
	return settle(w.dev.Conn, w.dev.Index)
}

// setup has the addresses announced once, because a bridge loses no frame, and
// not at all where nobody can know them by another MAC: an announcement
// interrupts every container on the bridge. The gateway, where it is the bridge
// itself, is told alone. A bridge that is not berth's may have other users, and
// a MAC that changes with its ports.
func (w *wiring) setup() attach.Setup {
	s := attach.Setup{Routes: w.routes(), Detect: w.conf.EnableDAD, Announce: 1}
	if !w.conf.IsGateway || w.conf.vlans() || !strings.HasPrefix(w.bridge.Alias, netdev.AliasPrefix) {
		return s
	}
	s.GatewayMAC = w.bridge.MAC
	if w.a.Expected() {
		s.Announce = 0
	}
	return s
}

// routes are the configuration's, and the default routes through the bridge.
func (w *wiring) routes() []plugins.Route {
	routes := w.a.Routes()
	if !w.conf.IsDefaultGateway {
		return routes
	}
	for _, addr := range w.a.Addresses {
		dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if addr.Prefix.Addr().Is6() {
			dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		known := false
		for _, r := range routes {
			known = known || r.Dst == dst
		}
		if !known {
			routes = append(routes, plugins.Route{Dst: dst, Gateway: addr.Gateway})
		}
	}
	return routes
}

// protect puts the container into the packet filter.
func (w *wiring) protect() error {
	fw, err := firewall.Open(w.conf.backend())
	if err != nil {
		return err
	}
	w.a.OnAbort(func() error { return removeRules(w.a.Record) })
	e := w.conf.endpoint(w.a.Record)
	if err := fw.Add(w.conf.network(), e); err != nil {
		return err
	}
	if w.warnings, err = w.conf.shortcut().Make(w.host, w.a.Record); err != nil {
		return err
	}
	return firewall.FlushUDP(e.Ports)
}

// result has the interfaces in the order that users of the upstream plugin
// expect: bridge, host's end, container's end, the VLAN's gateway.
func (w *wiring) result() *plugins.Result {
	r := w.a.Result(plugins.Interface{Name: w.bridge.Name, MAC: w.bridge.MAC, MTU: w.bridge.MTU},
		plugins.Interface{Name: w.a.Record.HostIfName, MAC: w.hostMAC, MTU: w.mtu},
		plugins.Interface{Name: w.req.IfName, MAC: w.mac, MTU: w.mtu, Sandbox: w.req.NetNS})
	for i := range r.IPs {
		r.IPs[i].Interface = 2
	}
	if w.gateway != nil && w.gateway != w.bridge {
		r.Interfaces = append(r.Interfaces, plugins.Interface{Name: w.gateway.Name, MAC: w.gateway.MAC, MTU: w.gateway.MTU})
	}
	r.Routes = w.routes()
	if dns := w.conf.DNS; dns.Nameservers != nil || dns.Domain != "" || dns.Search != nil || dns.Options != nil {
		r.DNS = dns
	}
	r.Warnings = append(w.warnings, w.conf.warnings()...)
	return r
}
