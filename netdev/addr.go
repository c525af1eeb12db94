package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddr gives a device an address. IPv6 addresses are usable at once: they
// come from an allocator that gives each only once, so duplicate address
// detection (IFA_F_NODAD) would only delay the container by a second. One
// that is already there is success.
func (h *Handle) AddAddr(link Link, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: IPNet(p)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := h.nl.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s to %s: %w", p, link.Attrs().Name, err)
	}
	return nil
}

// DropAddr takes an address from a device. One that is gone already is success.
func (h *Handle) DropAddr(link Link, p netip.Prefix) error {
	if err := h.nl.AddrDel(link, &netlink.Addr{IPNet: IPNet(p)}); err != nil && !missing(err) {
		return fmt.Errorf("drop address %s of %s: %w", p, link.Attrs().Name, err)
	}
	return nil
}

// Addrs lists a device's addresses of both families.
func (h *Handle) Addrs(link Link) ([]netip.Prefix, error) {
	addrs, err := retry(func() ([]netlink.Addr, error) { return h.nl.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	prefixes := make([]netip.Prefix, 0, len(addrs))
	for _, a := range addrs {
		if p, ok := Prefix(a.IPNet); ok {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes, nil
}

// IPNet converts to the library's type, host bits kept.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Prefix converts from the library's type, host bits kept.
func Prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}
