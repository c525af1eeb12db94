package netdev

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netns"
)

// EnsureBridge finds a bridge or makes it, down, with the MAC and alias. One
// that is there keeps its own.
func (h *Handle) EnsureBridge(name, alias string, mac net.HardwareAddr, mtu int) (Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Alias, attrs.HardwareAddr, attrs.MTU = name, alias, mac, mtu
	err := h.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("create bridge %s: %w", name, err)
	}
	link, err := h.Link(name)
	if err == nil && link.Type() != "bridge" {
		return nil, fmt.Errorf("create bridge %s: a device of that name is a %s", name, link.Type())
	}
	return link, err
}

// Pair is a veth pair to be made: Name here, Peer in another namespace from
// the start. Both ends are down.
type Pair struct {
	Name, Alias string
	Peer        string
	PeerMAC     net.HardwareAddr
	MTU         int
}

// AddPair makes the pair.
func (h *Handle) AddPair(p Pair, peerNS *netns.Handle) (Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Alias, attrs.MTU = p.Name, p.Alias, p.MTU
	err := h.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: p.Peer, PeerHardwareAddr: p.PeerMAC, PeerMTU: uint32(p.MTU),
		PeerNamespace: netlink.NsFd(peerNS.FD()),
	})
	if err != nil {
		return nil, fmt.Errorf("create veth %s with peer %s: %w", p.Name, p.Peer, err)
	}
	return h.Link(p.Name)
}
