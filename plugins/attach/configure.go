package attach

import (
	"errors"
	"net/netip"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// Prepare sets what must hold before the container's device comes up: router
// advertisements are not believed (CVE-2020-10749), and IPv6 is off where no
// address of it was asked for (CVE-2024-32473). A network without IPAM leaves
// IPv6 to the container. h is bound to the container's namespace.
func (a *Attachment) Prepare(h *netdev.Handle, link netdev.Link) error {
	conf := "ipv6/conf/" + link.Attrs().Name
	if err := h.SetSysctl(conf+"/accept_ra", "0"); err != nil || a.IPAM == nil {
		return err
	}
	off := "1"
	for _, addr := range a.Addresses {
		if addr.Prefix.Addr().Is6() {
			off = "0"
		}
	}
	return h.SetSysctl(conf+"/disable_ipv6", off)
}

// Configure brings the container's device up, gives it its addresses and sets
// the routes. h is bound to the container's namespace.
func (a *Attachment) Configure(h *netdev.Handle, link netdev.Link) error {
	if err := a.Prepare(h, link); err != nil { // again: a delegate has brought the addresses since
		return err
	}
	if err := a.probe(h, link); err != nil {
		return err
	}
	// An IPv6 address that is given before the kernel knows of the carrier
	// answers neighbours only a second later.
	if err := errors.Join(h.SetUp(link), h.SyncCarrier(link.Attrs().Name)); err != nil {
		return err
	}
	for _, addr := range a.Addresses {
		if err := h.AddAddr(link, addr.Prefix); err != nil {
			return err
		}
	}
	for _, r := range a.Routes() {
		if err := h.AddRoute(link, DeviceRoute(r)); err != nil {
			return err
		}
	}
	return nil
}

// probe makes sure that nobody on the segment has the addresses, where the
// configuration asks for that. The caller's next try gets other addresses:
// those that are given back are the last to be given again.
func (a *Attachment) probe(h *netdev.Handle, link netdev.Link) error {
	if a.IPAM == nil || !a.IPAM.Probe {
		return nil
	}
	if err := h.SetUp(link); err != nil {
		return err
	}
	err := h.Probe(link, a.Record.Addresses)
	if errors.Is(err, netdev.ErrAddressTaken) {
		return plugins.Errorf(plugins.CodeTryAgain, "%w; exclude it in ipam.exclude if it stays", err)
	}
	return err
}

// Announce tells the segment the container's addresses, and has the kernel go
// on telling the gateways.
func (a *Attachment) Announce(h *netdev.Handle, link netdev.Link) error {
	errs := []error{h.Announce(link, a.Record.Addresses)}
	for _, addr := range a.Addresses {
		if addr.Gateway.IsValid() {
			errs = append(errs, h.Resolve(link, addr.Gateway))
		}
	}
	return errors.Join(errs...)
}

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
