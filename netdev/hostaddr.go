package netdev

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkAddr is an address and the index of the device that has it.
type LinkAddr struct {
	Index   int
	Address netip.Prefix
}

// GlobalAddrs lists the addresses of all devices that others reach the host
// by: of global scope, IPv4 first.
func (h *Handle) GlobalAddrs() ([]LinkAddr, error) {
	addrs, err := retry(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var global []LinkAddr
	for _, a := range addrs {
		if p, ok := Prefix(a.IPNet); ok && reachable(a, p.Addr()) {
			global = append(global, LinkAddr{Index: a.LinkIndex, Address: p})
		}
	}
	return global, nil
}

// reachable leaves out addresses that are not yet proven unique, that were
// found to be another's, that are about to end, and those that are only for
// outgoing connections (RFC 8981). IPv4 uses the flag of the last for
// secondary addresses, which are as good as the first.
func reachable(a netlink.Addr, ip netip.Addr) bool {
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
	temporary := ip.Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0
	return a.Scope == unix.RT_SCOPE_UNIVERSE && !ip.IsLoopback() && a.Flags&unusable == 0 && !temporary
}
