package netdev

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// anywhere are destinations that nobody routes on their own: of the block
// that IPv4 keeps for later (RFC 1112 section 4), and of the part of IPv6's
// global space next to Teredo that IANA has not given out.
var anywhere = []netip.Addr{netip.MustParseAddr("240.0.0.1"), netip.MustParseAddr("2000::1")}

// DefaultRouteDevice finds the device that the default route leaves by,
// IPv4's before IPv6's. It looks one destination up (RTM_F_FIB_MATCH) rather
// than list the routes, of which a host may have a million. ErrNotFound says
// that there is no default route.
func (c *Conn) DefaultRouteDevice() (*Device, error) {
	for _, dst := range anywhere {
		index, err := c.defaultRouteIndex(dst)
		if err != nil {
			return nil, err
		}
		if index != 0 {
			return c.DeviceByIndex(index)
		}
	}
	return nil, fmt.Errorf("find default route: %w", ErrNotFound)
}

// defaultRouteIndex is the device of the route to dst, 0 where that is no
// default route.
func (c *Conn) defaultRouteIndex(dst netip.Addr) (index int, err error) {
	var b nlsock.Batch
	b.Message(unix.RTM_GETROUTE, 0, "find default route")
	b.U8(family(dst)) // struct rtmsg
	b.U8(uint8(dst.BitLen()))
	b.Zeros(6)
	b.U32(unix.RTM_F_FIB_MATCH)
	b.Bytes(unix.RTA_DST, dst.AsSlice())
	failed, err := c.sock.Do(&b, func(_ int, typ uint16, payload []byte) {
		if r, ok := decodeRoute(payload); ok && typ == unix.RTM_NEWROUTE && r.Dst.Bits() == 0 {
			index = routeIndex(payload)
		}
	})
	if err == nil && len(failed) > 0 && !noRoute(failed[0]) {
		err = failed[0]
	}
	return index, err
}

// routeIndex is the device of a route, the first one's of a multipath route
// (struct rtnexthop of include/uapi/linux/rtnetlink.h).
func routeIndex(payload []byte) (index int) {
	nlsock.Attrs(payload[sizeofRtMsg:], func(typ uint16, v []byte) {
		switch {
		case typ == unix.RTA_OIF:
			index = int(u32(v))
		case typ == unix.RTA_MULTIPATH && len(v) >= sizeofRtNexthop:
			index = int(u32(v[4:]))
		}
	})
	return index
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
