package netdev

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is a route through one device. An invalid Gateway means on-link.
type Route struct {
	Dst      netip.Prefix
	Gateway  netip.Addr
	Source   netip.Addr // preferred; invalid: the kernel's choice
	Priority int
	MTU      int
	AdvMSS   int
	Table    int
	Scope    int
}

// AddRoute adds a route through link. One that is already there is success.
func (h *Handle) AddRoute(link Link, r Route) error {
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: IPNet(r.Dst),
		Priority: r.Priority, MTU: r.MTU, AdvMSS: r.AdvMSS, Table: r.Table, Scope: netlink.Scope(r.Scope),
	}
	if r.Source.IsValid() {
		route.Src = r.Source.AsSlice()
	}
	if r.Gateway.IsValid() {
		route.Gw = r.Gateway.AsSlice()
	} else if r.Scope == 0 && r.Dst.Addr().Is4() {
		route.Scope = netlink.SCOPE_LINK
	}
	if err := h.nl.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add route to %s through %s: %w", r.Dst, link.Attrs().Name, err)
	}
	return nil
}
