package netdev

import (
	"errors"
	"fmt"

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

// mark is the attribute of a device that is to be known as berth's own.
func (b *Batch) mark(wanted bool) {
	if wanted {
		b.Uint32(unix.IFLA_GROUP, markGroup)
	}
}

// AddVLAN makes a device, down and marked, for the frames of base that have
// the 802.1Q tag id, 1 to 4094. One of that name is an error (EEXIST).
func (c *Conn) AddVLAN(name string, base *Device, id uint16) error {
	b := new(Batch)
	b.Message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fmt.Sprintf("create VLAN device %s on %s", name, base.Name))
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.endpoint(name, nil, 0)
	b.Uint32(unix.IFLA_LINK, uint32(base.Index))
	b.mark(true)
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, "vlan")
	data := b.Nest(unix.IFLA_INFO_DATA)
	b.Uint16(unix.IFLA_VLAN_ID, id)
	b.End(data)
	b.End(info)
	err := c.Do(b)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("create VLAN device %s on %s: %w", name, base.Name, &UnsupportedError{"802.1Q VLAN devices", "CONFIG_VLAN_8021Q"})
	}
	return err
}

// AddIsolated makes an Ethernet device, down and marked, that has a carrier
// and drops whatever is sent out of it: a segment without a way out. It is a
// dummy device or, where the kernel has none, an ifb, which drops every frame
// that traffic control did not redirect to it (ifb_xmit, drivers/net/ifb.c).
func (c *Conn) AddIsolated(name string) error {
	err := c.addPlain(name, "dummy")
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = c.addPlain(name, "ifb")
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("create isolated device %s: %w", name, &UnsupportedError{"dummy devices", "CONFIG_DUMMY"})
	}
	return err
}

func (c *Conn) addPlain(name, kind string) error {
	b := new(Batch)
	b.Message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, "create isolated device "+name)
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.endpoint(name, nil, 0)
	b.mark(true)
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, kind)
	b.End(info)
	return c.Do(b)
}
