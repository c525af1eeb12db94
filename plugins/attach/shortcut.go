package attach

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// Shortcut is what a network has to do with br_netfilter, which translates a
// packet while it is still on the bridge. Then an answer to ::1 comes in for
// that address by a device, which IPv6 drops (ip6_rcv_core,
// net/ipv6/ip6_input.c), and a packet for a published port of the same network
// is bridged from one port to the other, which isolated ports forbid
// (br_nf_pre_routing_finish, net/bridge/br_netfilter_hooks.c). A way past it has
// the bridge's device translate, as without br_netfilter (docs/adr/0115).
type Shortcut struct {
	Bridge  string
	Gateway bool // the bridge itself is the gateway; else there is no way past
	NoICC   bool // neighbours reach each other by published ports only
}

// wanted tells whether the attachment does not work without one.
func (s *Shortcut) wanted(r *endpoint.Record) bool {
	if !s.Gateway {
		return false
	}
	return reachedByIPv6Loopback(r) && filtersBridged("ip6") || s.NoICC && (filtersBridged("ip") || filtersBridged("ip6"))
}

// filtersBridged tells whether br_netfilter hands over what is bridged of a
// family, "ip" or "ip6".
func filtersBridged(family string) bool {
	on, err := netdev.ReadSysctl("bridge/bridge-nf-call-" + family + "tables")
	return err == nil && on == "1"
}

// FiltersBridged names the families of which br_netfilter hands over what is
// bridged.
func FiltersBridged() string {
	var on []string
	for _, family := range []string{"ip", "ip6"} {
		if filtersBridged(family) {
			on = append(on, family)
		}
	}
	return strings.Join(on, " ")
}

func reachedByIPv6Loopback(r *endpoint.Record) bool {
	six := false
	for _, a := range r.Addresses {
		six = six || a.Addr().Is6()
	}
	for i := range r.Ports {
		if m := &r.Ports[i]; six && (!m.HostIP.IsValid() || m.HostIP == netip.IPv6Unspecified() || m.HostIP == netip.IPv6Loopback()) {
			return true
		}
	}
	return false
}

// Make makes the shortcut of an attachment that wants one. Where there can be
// none that is an error for a port that is published on ::1 by name, and a
// warning for one that is published on all addresses.
func (s *Shortcut) Make(c *netdev.Conn, r *endpoint.Record) (warnings []string, err error) {
	if !s.wanted(r) {
		if !s.Gateway && reachedByIPv6Loopback(r) && filtersBridged("ip6") {
			return []string{deadLoopback(errNotGateway)}, nil
		}
		return nil, nil
	}
	way, err := s.of(c, r)
	if err == nil {
		err = c.AddShortcut(way)
	}
	if !errors.Is(err, netdev.ErrNoShortcut) {
		return nil, err
	}
	if refused := refuseLoopback(r.Ports, err); refused != nil {
		return nil, refused
	}
	if reachedByIPv6Loopback(r) && filtersBridged("ip6") {
		warnings = append(warnings, deadLoopback(err))
	}
	if s.NoICC && len(r.Ports) > 0 {
		warnings = append(warnings, "neighbours of the network do not reach its published ports: br_netfilter is on (net.bridge.bridge-nf-call-iptables), and "+err.Error())
	}
	return warnings, nil
}

func deadLoopback(reason error) string {
	return fmt.Sprintf("published ports do not answer at ::1: net.bridge.bridge-nf-call-ip6tables is 1, and %v; use 127.0.0.1 or another address of the host", reason)
}

func (s *Shortcut) of(c *netdev.Conn, r *endpoint.Record) (*netdev.Shortcut, error) {
	bridge, err := c.Device(s.Bridge)
	if err != nil {
		return nil, err
	}
	port, err := c.Device(r.HostIfName)
	if err != nil {
		return nil, err
	}
	return &netdev.Shortcut{Port: port.Index, MAC: net.HardwareAddr(r.MAC), Bridge: bridge}, nil
}

// Check fails with firewall.ErrMissing where the attachment lacks the one that
// it wants. One that Add has done without is not missed.
func (s *Shortcut) Check(c *netdev.Conn, r *endpoint.Record) error {
	if !s.wanted(r) {
		return nil
	}
	way, err := s.of(c, r)
	if err != nil {
		return err
	}
	err = c.CheckShortcut(way)
	switch {
	case errors.Is(err, netdev.ErrNoShortcut):
		return nil
	case errors.Is(err, netdev.ErrNotFound):
		return fmt.Errorf("way of %s around br_netfilter: %w; berth network reload makes it", r.HostIfName, firewall.ErrMissing)
	}
	return err
}

// CheckPorts refuses a port on ::1 that nobody would get an answer from, before
// anything is made.
func (s *Shortcut) CheckPorts(ports []plugins.PortMapping) error {
	err := refuseLoopback(ports, errNotGateway)
	if err == nil || s.Gateway || !filtersBridged("ip6") {
		return nil
	}
	return err
}

var errNotGateway = errors.New("there is a way around that only where the bridge itself is the gateway (isGateway, no vlan)")

func refuseLoopback(ports []plugins.PortMapping, reason error) error {
	for i := range ports {
		if m := &ports[i]; m.HostIP == netip.IPv6Loopback() {
			return plugins.Errorf(plugins.CodeInvalidConfig, "publish port [::1]:%d/%s: nobody would get an answer while net.bridge.bridge-nf-call-ip6tables is 1, and %w; "+
				"publish it on 127.0.0.1 instead, or set net.bridge.bridge-nf-call-ip6tables=0 where nothing on this host needs it", m.HostPort, m.Protocol, reason)
		}
	}
	return nil
}
