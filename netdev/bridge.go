package netdev

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Bridge is what a bridge is made with and what Conn.Device tells of it.
type Bridge struct {
	VLANFiltering bool
	DefaultPVID   uint16 // 0: none; what a bridge without VLAN support has
}

// AddBridge makes a bridge, down. Its MAC is given, so that it is not that of
// whichever port has the lowest: containers keep the gateway's in their
// caches. It does not snoop multicast: that has no effect where there is no
// querier, but has a timer for every port, all of which are set anew whenever
// one comes up (br_port_state_selection, net/bridge/br_stp.c). Nor does it
// delay forwarding, which is for the spanning tree protocol: without it a port
// forwards at once, but its timer runs all the same, and 15 seconds later tells
// every listener of the port (br_forward_delay_timer_expired). Who turns the
// protocol on gets the least delay that it allows (br_stp_start).
func (b *Batch) AddBridge(name string, mac net.HardwareAddr, mtu int, o Bridge) {
	b.Message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, "create bridge "+name)
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.endpoint(name, mac, mtu)
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, "bridge")
	data := b.Nest(unix.IFLA_INFO_DATA)
	b.Uint8(unix.IFLA_BR_MCAST_SNOOPING, 0)
	b.Uint32(unix.IFLA_BR_FORWARD_DELAY, 0)
	if o.VLANFiltering {
		b.Uint8(unix.IFLA_BR_VLAN_FILTERING, 1)
		b.Uint16(unix.IFLA_BR_VLAN_DEFAULT_PVID, o.DefaultPVID)
	}
	b.End(data)
	b.End(info)
}

// EnsureBridge finds a bridge or makes it, down, with the MAC and alias. One
// that is there keeps its alias.
func (h *Handle) EnsureBridge(name, alias string, mac net.HardwareAddr, mtu int) (Link, error) {
	b := new(Batch)
	b.AddBridge(name, mac, mtu, Bridge{})
	err := h.Do(b)
	if err == nil {
		b.ChangeLink(name, LinkChange{Alias: alias})
		err = h.Do(b)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
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
