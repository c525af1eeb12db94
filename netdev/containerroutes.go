package netdev

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Default is a default route of the main table.
type Default struct {
	IfName   string     `json:"ifname"`
	Gateway  netip.Addr `json:"gateway,omitzero"` // invalid: on-link
	IPv6     bool       `json:"ipv6,omitempty"`
	Priority int        `json:"priority,omitempty"` // metric; less wins
}

// Destinations lists what the routes of the main table lead to, default
// routes left out, and the host's addresses, which are the local table's: for
// choosing a subnet, never on the path of an Add.
func (h *Handle) Destinations() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, table := range []int{unix.RT_TABLE_MAIN, unix.RT_TABLE_LOCAL} {
		routes, err := h.tableRoutes(netlink.FAMILY_ALL, table)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if p, ok := Prefix(r.Dst); ok && p.Bits() > 0 && !p.Addr().IsMulticast() {
				all = append(all, p.Masked())
			}
		}
	}
	return all, nil
}

// Defaults lists the default routes of a container, whose table is small.
func (h *Handle) Defaults() ([]Default, error) {
	var all []Default
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.tableRoutes(family, unix.RT_TABLE_MAIN)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if !isDefault(r) || r.Type != unix.RTN_UNICAST || deviceOf(r) == 0 {
				continue
			}
			link, err := h.LinkByIndex(deviceOf(r))
			if err != nil {
				return nil, err
			}
			gw, _ := netip.AddrFromSlice(r.Gw)
			all = append(all, Default{
				IfName: link.Attrs().Name, Gateway: gw.Unmap(), IPv6: family == netlink.FAMILY_V6, Priority: r.Priority,
			})
		}
	}
	return all, nil
}

// AddDefault adds a default route. One that is already there is success.
func (h *Handle) AddDefault(d Default) error {
	link, err := h.Link(d.IfName)
	if err != nil {
		return fmt.Errorf("add default route: %w", err)
	}
	return h.AddRoute(link, Route{Dst: d.destination(), Gateway: d.Gateway, Priority: d.Priority})
}

// Metric is the route's rank as the kernel counts: an IPv6 route that is
// given none has 1024 (IP6_RT_PRIO_USER, include/net/ip6_route.h).
func (d Default) Metric() int {
	if d.IPv6 && d.Priority == 0 {
		return 1024
	}
	return d.Priority
}

// ReplaceDefault adds a default route in the place of one of the same
// metric, so that there is no moment without.
func (h *Handle) ReplaceDefault(d Default) error {
	link, err := h.Link(d.IfName)
	if err != nil {
		return fmt.Errorf("replace default route: %w", err)
	}
	route := d.route(link)
	if err := h.nl.RouteReplace(route); err != nil {
		return fmt.Errorf("replace default route by %s: %w", d.IfName, err)
	}
	return nil
}

func (d Default) route(link Link) *netlink.Route {
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: IPNet(d.destination()), Priority: d.Priority}
	switch {
	case d.Gateway.IsValid():
		route.Gw = d.Gateway.AsSlice()
	case !d.IPv6:
		route.Scope = netlink.SCOPE_LINK
	}
	return route
}

// DeleteDefault removes a default route. One that is not there is success.
func (h *Handle) DeleteDefault(d Default) error {
	link, err := h.Link(d.IfName)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete default route: %w", err)
	}
	if err := h.nl.RouteDel(d.route(link)); err != nil && !missing(err) {
		return fmt.Errorf("delete default route through %s: %w", d.IfName, err)
	}
	return nil
}

func (d Default) destination() netip.Prefix {
	if d.IPv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func (h *Handle) tableRoutes(family, table int) ([]netlink.Route, error) {
	routes, err := retry(func() ([]netlink.Route, error) {
		return h.nl.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}
