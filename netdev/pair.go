package netdev

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// EnsureBridge finds a bridge or makes it, down, with the MAC and alias. One
// that is there keeps its alias.
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
	if err == nil && !bytes.Equal(link.Attrs().HardwareAddr, mac) {
		if err := h.nl.LinkSetHardwareAddr(link, mac); err != nil {
			return nil, fmt.Errorf("set MAC %s of bridge %s: %w", mac, name, err)
		}
	}
	return link, err
}
