package netdev

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// anywhere are destinations that nobody routes on their own: of the block
// that IPv4 keeps for later (RFC 1112 section 4), and of the part of IPv6's
// global space next to Teredo that IANA has not given out.
var anywhere = []net.IP{net.IPv4(240, 0, 0, 1), net.ParseIP("2000::1")}

// DefaultRouteLink finds the device that the default route leaves by, IPv4's
// before IPv6's. It looks one destination up (RTM_F_FIB_MATCH) rather than
// list the routes, of which a host may have a million. ErrNotFound says that
// there is no default route.
func (h *Handle) DefaultRouteLink() (Link, error) {
	for _, dst := range anywhere {
		routes, err := h.nl.RouteGetWithOptions(dst, &netlink.RouteGetOptions{FIBMatch: true})
		switch {
		case noRoute(err):
			continue
		case err != nil:
			return nil, fmt.Errorf("find default route: %w", err)
		}
		for _, r := range routes {
			if index := deviceOf(r); index != 0 && isDefault(r) {
				return h.LinkByIndex(index)
			}
		}
	}
	return nil, fmt.Errorf("find default route: %w", ErrNotFound)
}

// noRoute tells the errors of fib_props (net/ipv4/fib_semantics.c): there is no
// route, or one that says unreachable, prohibit or blackhole.
func noRoute(err error) bool {
	return missing(err) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) ||
		errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL)
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// deviceOf is a route's device; the first one's of a multipath route.
func deviceOf(r netlink.Route) int {
	if r.LinkIndex == 0 && len(r.MultiPath) > 0 {
		return r.MultiPath[0].LinkIndex
	}
	return r.LinkIndex
}
