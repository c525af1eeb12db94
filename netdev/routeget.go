package netdev

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
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
func (c *Conn) PathTo(addr netip.Addr) (Path, error) {
	var b nlsock.Batch
	b.Message(unix.RTM_GETROUTE, 0, "find route to "+addr.String())
	b.U8(family(addr)) // struct rtmsg
	b.U8(uint8(addr.BitLen()))
	b.Zeros(10)
	b.Bytes(unix.RTA_DST, addr.AsSlice())
	var p *Path
	failed, err := c.sock.Do(&b, func(_ int, typ uint16, payload []byte) {
		if typ == unix.RTM_NEWROUTE {
			p = decodePath(payload)
		}
	})
	switch {
	case err != nil:
		return Path{}, err
	case p != nil:
		return *p, nil
	case len(failed) == 0, missing(failed[0]), errors.Is(failed[0], unix.ENETUNREACH), errors.Is(failed[0], unix.EHOSTUNREACH):
		return Path{}, fmt.Errorf("find route to %s: %w", addr, ErrNotFound)
	}
	return Path{}, failed[0]
}

func decodePath(payload []byte) *Path {
	r, ok := decodeRoute(payload)
	if !ok {
		return nil
	}
	p := &Path{Source: r.Source, MTU: r.MTU, Local: payload[7] == unix.RTN_LOCAL}
	nlsock.Attrs(payload[sizeofRtMsg:], func(typ uint16, v []byte) {
		if typ == unix.RTA_OIF {
			p.Link = int(u32(v))
		}
	})
	return p
}

// PathTo is Conn's.
func (h *Handle) PathTo(addr netip.Addr) (Path, error) {
	sock, err := h.socket()
	if err != nil {
		return Path{}, err
	}
	return (&Conn{sock}).PathTo(addr)
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
