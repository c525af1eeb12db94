package netdev

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Path is how the host's routing would send to an address.
type Path struct {
	Source netip.Addr // that the host would use; invalid: it has none
	Link   int        // index of the device
	Local  bool       // the address is the host's own
	MTU    int        // of the route; 0: the device's
}

// PathTo asks the kernel for the way to addr. It fails with ErrNotFound where
// there is no route.
func (h *Handle) PathTo(addr netip.Addr) (Path, error) {
	routes, err := h.nl.RouteGet(addr.AsSlice())
	if missing(err) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || err == nil && len(routes) == 0 {
		return Path{}, fmt.Errorf("find route to %s: %w", addr, ErrNotFound)
	}
	if err != nil {
		return Path{}, fmt.Errorf("find route to %s: %w", addr, err)
	}
	return pathOf(routes[0]), nil
}

func pathOf(r netlink.Route) Path {
	src, _ := netip.AddrFromSlice(r.Src)
	return Path{Source: src.Unmap(), Link: r.LinkIndex, Local: r.Type == unix.RTN_LOCAL, MTU: r.MTU}
}

// LinkWithAddr finds the device that has an address: by a dump of all
// addresses, so not for the path of an Add.
func (h *Handle) LinkWithAddr(addr netip.Addr) (Link, error) {
	addrs, err := retry(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := Prefix(a.IPNet); ok && p.Addr() == addr {
			return h.LinkByIndex(a.LinkIndex)
		}
	}
	return nil, fmt.Errorf("find link with address %s: %w", addr, ErrNotFound)
}
