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
	own, err := w.parent.on.Addrs(w.parent.dev.Index)
	if err != nil {
		return err
	}
	shim, err := w.ensureShim()
	if err != nil {
		return err
	}
	b := new(netdev.Batch)
	for _, p := range own {
		if addr := p.Prefix.Addr(); addr.Is6() && !addr.IsLinkLocalUnicast() {
			b.AddAlias(shim.Index, addr)
		}
	}
	b.ChangeLink(shim.Name, netdev.LinkChange{Up: true})
	for _, p := range w.a.Record.Addresses {
		addr := p.Addr()
		b.AddRoute(shim.Index, netdev.Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Source: sourceFor(addr, own)})
	}
	return w.parent.on.Do(b)
}

// ensureShim makes the shim where it is not there.
func (w *wiring) ensureShim() (*netdev.Device, error) {
	name := shimName(w.parent.name)
	shim, err := w.parent.on.Device(name)
	if errors.Is(err, netdev.ErrNotFound) {
		return w.makeShim(name)
	}
	return shim, err
}

func (w *wiring) makeShim(name string) (*netdev.Device, error) {
	mac, err := netdev.StableMAC(w.parent.name, "", name)
	if err != nil {
		return nil, err
	}
	m := netdev.Macvlan{Name: name, Mode: netdev.MacvlanBridge, MAC: mac, Mark: true}
	if err := w.parent.on.AddMacvlan(m, w.parent.dev, nil); err != nil {
		return nil, w.explain(err)
	}
	if err := netdev.WriteSysctl("ipv6/conf/"+name+"/accept_ra", "0"); err != nil {
		return nil, err
	}
	return w.parent.on.Device(name)
}

// sourceFor is the host's address that a container sees: of the same subnet,
// or else the first of the family.
func sourceFor(to netip.Addr, own []netdev.Addr) (first netip.Addr) {
	for _, p := range own {
		addr := p.Prefix.Addr()
		switch {
		case addr.Is4() != to.Is4() || addr.IsLinkLocalUnicast():
		case p.Prefix.Contains(to):
			return addr
		case !first.IsValid():
			first = addr
		}
	}
	return first
}

// closeHostAccess removes the routes to the addresses and, where nobody else
// needs it, the shim.
func closeHostAccess(c *netdev.Conn, parent string, addresses []netip.Prefix, others int) error {
	if others == 0 {
		return deleteMarked(c, shimName(parent))
	}
	shim, err := c.Device(shimName(parent))
	if errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	b := new(netdev.Batch)
	for _, p := range addresses {
		b.DeleteRoute(shim.Index, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	}
	return c.Do(b)
}
