package netdev

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// markGroup is the group (IFLA_GROUP, "ip link show group") of devices that
// berth makes on demand for others to stand on. Unlike an alias the kernel
// takes it in the request that makes the device, so that there is no moment
// in which it could be mistaken for the administrator's.
const markGroup = 0x62657274

// UnsupportedError says that the kernel was built without a feature. It
// satisfies errors.Is(err, errors.ErrUnsupported).
type UnsupportedError struct {
	Feature string
	Config  string // symbol of the kernel's configuration
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("this kernel has no %s (%s)", e.Feature, e.Config)
}

func (e *UnsupportedError) Unwrap() error { return errors.ErrUnsupported }

// Marked tells a device that AddVLAN or AddIsolated made, or AddMacvlan
// where it was told to.
func Marked(link Link) bool { return link.Attrs().Group == markGroup }

func markedAttrs(name string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group = name, markGroup
	return attrs
}

// AddVLAN makes a device, down and marked, for the frames of base that have
// the 802.1Q tag id, 1 to 4094. One of that name is an error (EEXIST).
func (h *Handle) AddVLAN(name string, base Link, id int) error {
	attrs := markedAttrs(name)
	attrs.ParentIndex = base.Attrs().Index
	err := h.nl.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: id})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = &UnsupportedError{"802.1Q VLAN devices", "CONFIG_VLAN_8021Q"}
	}
	if err != nil {
		return fmt.Errorf("create VLAN device %s on %s: %w", name, base.Attrs().Name, err)
	}
	return nil
}

// AddIsolated makes an Ethernet device, down and marked, that has a carrier
// and drops whatever is sent out of it: a segment without a way out. It is a
// dummy device or, where the kernel has none, an ifb, which drops every frame
// that traffic control did not redirect to it (ifb_xmit, drivers/net/ifb.c).
func (h *Handle) AddIsolated(name string) error {
	err := h.nl.LinkAdd(&netlink.Dummy{LinkAttrs: markedAttrs(name)})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = h.nl.LinkAdd(&netlink.Ifb{LinkAttrs: markedAttrs(name)})
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = &UnsupportedError{"dummy devices", "CONFIG_DUMMY"}
	}
	if err != nil {
		return fmt.Errorf("create isolated device %s: %w", name, err)
	}
	return nil
}
