package netdev

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netns"
)

// MacvlanMode says who of a parent's macvlan devices hears whom
// (IFLA_MACVLAN_MODE).
type MacvlanMode string

const (
	MacvlanBridge   MacvlanMode = "bridge"   // all hear each other directly
	MacvlanPrivate  MacvlanMode = "private"  // none hears another
	MacvlanVEPA     MacvlanMode = "vepa"     // through a switch that reflects (802.1Qbg)
	MacvlanPassthru MacvlanMode = "passthru" // the only one on its parent
)

// macvlanModes pairs the names with enum macvlan_mode of
// include/uapi/linux/if_link.h.
var macvlanModes = map[MacvlanMode]uint32{
	MacvlanPrivate:  1,
	MacvlanVEPA:     2,
	MacvlanBridge:   4,
	MacvlanPassthru: 8,
}

// Valid tells whether it is one of the four.
func (m MacvlanMode) Valid() bool { _, ok := macvlanModes[m]; return ok }

// Macvlan is a device with a hardware address of its own on a parent device:
// what it is made with, and its Mode and BCQueueLen what Conn.Device tells of
// it.
type Macvlan struct {
	Name       string
	Mode       MacvlanMode
	MAC        net.HardwareAddr // nil: random, and the parent's in passthru mode
	MTU        int              // 0: the parent's
	BCQueueLen uint32           // IFLA_MACVLAN_BC_QUEUE_LEN; 0: the kernel's default
	Mark       bool             // see Device.Marked
}

// AddMacvlan makes the device, down, on a parent of c's namespace; in target
// where that is not nil, else beside its parent. The kernel's errors are kept
// for errors.Is: EBUSY, something else already receives what the parent does;
// EADDRINUSE, the parent or another macvlan on it has the MAC; EINVAL, a
// passthru device wants or has the parent for itself; EEXIST, the name is
// taken in target.
func (c *Conn) AddMacvlan(m Macvlan, parent *Device, target *netns.Handle) error {
	err := c.addMacvlan(m, parent, target)
	if errors.Is(err, unix.EEXIST) && target != nil {
		// Before Linux 6.14 (commit ec061546c6cf) the kernel looked for the
		// name where the request came from, not where the device goes.
		err = c.addMacvlanRenamed(m, parent, target)
	}
	return err
}

func (c *Conn) addMacvlan(m Macvlan, parent *Device, target *netns.Handle) error {
	b := new(Batch)
	b.Message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fmt.Sprintf("create macvlan device %s on %s", m.Name, parent.Name))
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.endpoint(m.Name, m.MAC, m.MTU)
	b.Uint32(unix.IFLA_LINK, uint32(parent.Index))
	b.mark(m.Mark)
	if target != nil {
		b.Uint32(unix.IFLA_NET_NS_FD, uint32(target.FD()))
	}
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, "macvlan")
	data := b.Nest(unix.IFLA_INFO_DATA)
	b.Uint32(unix.IFLA_MACVLAN_MODE, macvlanModes[m.Mode])
	if m.BCQueueLen != 0 {
		b.Uint32(unix.IFLA_MACVLAN_BC_QUEUE_LEN, m.BCQueueLen)
	}
	b.End(data)
	b.End(info)
	return c.Do(b)
}

// addMacvlanRenamed makes the device by a name that no one has and renames it
// in target. It fails with EEXIST where the name is taken there.
func (c *Conn) addMacvlanRenamed(m Macvlan, parent *Device, target *netns.Handle) error {
	inside, err := DialIn(target)
	if err != nil {
		return err
	}
	defer inside.Close()
	final := m.Name
	if _, err := inside.Device(final); !errors.Is(err, ErrNotFound) {
		return errors.Join(unix.EEXIST, err)
	}
	m.Name = HostName("bmv", parent.Name, target.Path(), final)
	if err := c.addMacvlan(m, parent, target); err != nil {
		return err
	}
	dev, err := inside.Device(m.Name)
	if err != nil {
		return err
	}
	b := new(Batch)
	b.RenameLink(dev.Index, final)
	if err := inside.Do(b); err != nil {
		b.DeleteLink(m.Name)
		return errors.Join(err, inside.Do(b))
	}
	return nil
}
