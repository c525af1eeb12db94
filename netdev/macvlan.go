package netdev

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
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

// macvlanModes pairs the names with the library's numbers.
var macvlanModes = map[MacvlanMode]netlink.MacvlanMode{
	MacvlanBridge:   netlink.MACVLAN_MODE_BRIDGE,
	MacvlanPrivate:  netlink.MACVLAN_MODE_PRIVATE,
	MacvlanVEPA:     netlink.MACVLAN_MODE_VEPA,
	MacvlanPassthru: netlink.MACVLAN_MODE_PASSTHRU,
}

// Valid tells whether it is one of the four.
func (m MacvlanMode) Valid() bool { _, ok := macvlanModes[m]; return ok }

// Macvlan is a device with a hardware address of its own on a parent device.
type Macvlan struct {
	Name       string
	Mode       MacvlanMode
	MAC        net.HardwareAddr // nil: random, and the parent's in passthru mode
	MTU        int              // 0: the parent's
	BCQueueLen uint32           // IFLA_MACVLAN_BC_QUEUE_LEN; 0: the kernel's default
	Mark       bool             // see Marked
}

// AddMacvlan makes the device, down, on a parent of h's namespace; in target
// where that is not nil, else beside its parent. The kernel's errors are kept
// for errors.Is: EBUSY, something else already receives what the parent does;
// EADDRINUSE, the parent or another macvlan on it has the MAC; EINVAL, a
// passthru device wants or has the parent for itself; EEXIST, the name is
// taken in target.
func (h *Handle) AddMacvlan(m Macvlan, parent Link, target *netns.Handle) error {
	err := h.addMacvlan(m, parent, target)
	if errors.Is(err, unix.EEXIST) && target != nil {
		// Before Linux 6.14 (commit ec061546c6cf) the kernel looked for the
		// name where the request came from, not where the device goes.
		err = h.addMacvlanRenamed(m, parent, target)
	}
	if err != nil {
		return fmt.Errorf("create macvlan device %s on %s: %w", m.Name, parent.Attrs().Name, err)
	}
	return nil
}

func (h *Handle) addMacvlan(m Macvlan, parent Link, target *netns.Handle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = m.Name, m.MAC, m.MTU
	attrs.ParentIndex = parent.Attrs().Index
	if m.Mark {
		attrs.Group = markGroup
	}
	if target != nil {
		attrs.Namespace = netlink.NsFd(target.FD())
	}
	return h.nl.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: macvlanModes[m.Mode], BCQueueLen: m.BCQueueLen})
}

// addMacvlanRenamed makes the device by a name that no one has and renames it
// in target. It fails with EEXIST where the name is taken there.
func (h *Handle) addMacvlanRenamed(m Macvlan, parent Link, target *netns.Handle) error {
	inside, err := In(target)
	if err != nil {
		return err
	}
	defer inside.Close()
	if _, err := inside.Link(m.Name); !errors.Is(err, ErrNotFound) {
		return errors.Join(unix.EEXIST, err)
	}
	final := m.Name
	m.Name = HostName("bmv", parent.Attrs().Name, target.Path(), final)
	if err := h.addMacvlan(m, parent, target); err != nil {
		return err
	}
	link, err := inside.Link(m.Name)
	if err == nil {
		err = inside.nl.LinkSetName(link, final)
	}
	if err != nil {
		return errors.Join(err, inside.DeleteLink(m.Name))
	}
	return nil
}

// MacvlanOf is the device's description, and false where it is of another
// kind.
func MacvlanOf(link Link) (Macvlan, bool) {
	l, ok := link.(*netlink.Macvlan)
	if !ok {
		return Macvlan{}, false
	}
	attrs := l.Attrs()
	m := Macvlan{Name: attrs.Name, MAC: attrs.HardwareAddr, MTU: attrs.MTU, BCQueueLen: l.BCQueueLen, Mark: Marked(link)}
	for name, mode := range macvlanModes {
		if mode == l.Mode {
			m.Mode = name
		}
	}
	return m, true
}
