package macvlan

import (
	"context"
	"errors"
	"net/netip"

	"github.com/berth-net/berth/netdev"
)

// A parent's frames are not handed to its own host's stack, nor the host's to
// the devices on it. So the host gets a macvlan device as well, the shim, and
// a route through it to each container's address. The shim has no IPv4
// address: the kernel answers ARP for the host's on any device, and deleting
// a second copy would take the routes of the first with it
// (fib_sync_down_addr, net/ipv4/fib_semantics.c). For IPv6 it must have a
// copy, because neighbour discovery asks the device that heard the question.

// shimName is one name for each parent.
func shimName(parent string) string { return netdev.HostName("bmh", parent, "", "") }

// openHostAccess lets the host reach the addresses of the attachment.
func (w *wiring) openHostAccess(ctx context.Context) error {
	release, err := w.guard(ctx, w.parent.name)
	if err != nil {
		return err
	}
	defer release()
	h := w.parent.on
	own, err := h.Addrs(w.parent.link)
	if err != nil {
		return err
	}
	shim, err := w.ensureShim(own)
	if err != nil {
		return err
	}
	for _, p := range w.a.Record.Addresses {
		addr := p.Addr()
		route := netdev.Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Source: sourceFor(addr, own)}
		if err := h.AddRoute(shim, route); err != nil {
			return err
		}
	}
	return nil
}

// ensureShim makes the shim where it is not there, and brings it up.
func (w *wiring) ensureShim(own []netip.Prefix) (netdev.Link, error) {
	h, name := w.parent.on, shimName(w.parent.name)
	shim, err := h.Link(name)
	if errors.Is(err, netdev.ErrNotFound) {
		shim, err = w.makeShim(name)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range own {
		if p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast() {
			if err := h.AddAlias(shim, p.Addr()); err != nil {
				return nil, err
			}
		}
	}
	return shim, h.SetUp(shim)
}

func (w *wiring) makeShim(name string) (netdev.Link, error) {
	h := w.parent.on
	mac, err := netdev.StableMAC(w.parent.name, "", name)
	if err != nil {
		return nil, err
	}
	m := netdev.Macvlan{Name: name, Mode: netdev.MacvlanBridge, MAC: mac, Mark: true}
	if err := h.AddMacvlan(m, w.parent.link, nil); err != nil {
		return nil, w.explain(err)
	}
	if err := h.SetSysctl("ipv6/conf/"+name+"/accept_ra", "0"); err != nil {
		return nil, err
	}
	return h.Link(name)
}

// sourceFor is the host's address that a container sees: of the same subnet,
// or else the first of the family.
func sourceFor(to netip.Addr, own []netip.Prefix) (first netip.Addr) {
	for _, p := range own {
		switch {
		case p.Addr().Is4() != to.Is4() || p.Addr().IsLinkLocalUnicast():
		case p.Contains(to):
			return p.Addr()
		case !first.IsValid():
			first = p.Addr()
		}
	}
	return first
}

// closeHostAccess removes the routes to the addresses and, where nobody else
// needs it, the shim.
func closeHostAccess(h *netdev.Handle, parent string, addresses []netip.Prefix, others int) error {
	if others == 0 {
		return deleteMarked(h, shimName(parent))
	}
	shim, err := h.Link(shimName(parent))
	if errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range addresses {
		errs = append(errs, h.DeleteRoute(shim, netip.PrefixFrom(p.Addr(), p.Addr().BitLen())))
	}
	return errors.Join(errs...)
}
