package attach

import (
	"net/netip"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// Result is the result of the attachment: the container's device first, on
// which all addresses are, and then others.
func (a *Attachment) Result(device plugins.Interface, others ...plugins.Interface) *plugins.Result {
	r := &plugins.Result{Interfaces: append([]plugins.Interface{device}, others...), Routes: a.Routes()}
	for _, addr := range a.Addresses {
		r.IPs = append(r.IPs, plugins.IP{Interface: 0, Address: addr.Prefix, Gateway: addr.Gateway})
	}
	if a.IPAM != nil {
		r.DNS = a.IPAM.DNS
	}
	return r
}

// Routes are the configuration's, each with the gateway of its family where
// it names none.
func (a *Attachment) Routes() []plugins.Route {
	if a.IPAM == nil {
		return nil
	}
	routes := append([]plugins.Route(nil), a.IPAM.Routes...)
	for i := range routes {
		if !routes[i].Gateway.IsValid() {
			routes[i].Gateway = gatewayFor(routes[i].Dst, a.Addresses)
		}
	}
	return routes
}

func gatewayFor(dst netip.Prefix, addresses []ipam.Address) netip.Addr {
	for _, addr := range addresses {
		if addr.Gateway.IsValid() && addr.Gateway.Is4() == dst.Addr().Is4() {
			return addr.Gateway
		}
	}
	return netip.Addr{}
}

// DeviceRoute is the same route for netdev.
func DeviceRoute(r plugins.Route) netdev.Route {
	d := netdev.Route{Dst: r.Dst, Gateway: r.Gateway, MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority}
	if r.Table != nil {
		d.Table = *r.Table
	}
	if r.Scope != nil {
		d.Scope = *r.Scope
	}
	return d
}
