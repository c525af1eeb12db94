package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
	"github.com/berth-net/berth/netns"
)

// Conn is a bare rtnetlink socket in one network namespace, for the path of
// an Add or Del: what is to be done is collected in a Batch and done in one
// system call. A Handle is for everything else. It is for one goroutine at a
// time.
type Conn struct{ sock *nlsock.Conn }

// Dial opens a Conn in the calling thread's network namespace. The socket
// stays in it when the thread leaves.
func Dial() (*Conn, error) {
	sock, err := nlsock.Open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &Conn{sock}, nil
}

// DialIn opens a Conn in ns.
func DialIn(ns *netns.Handle) (c *Conn, err error) {
	err = ns.Do(func() (err error) {
		c, err = Dial()
		return err
	})
	return c, err
}

// Close closes the socket.
func (c *Conn) Close() error { return c.sock.Close() }

// Do carries the batch out, in order, and returns the first request that the
// kernel refused, as an *nlsock.Error. The requests after it have been
// carried out as well. The batch is empty then.
func (c *Conn) Do(b *Batch) error {
	defer b.Reset()
	failed, err := c.sock.Do(&b.Batch, nil)
	if err != nil {
		return err
	}
	for _, f := range failed {
		if b.success[f.Index] != f.Errno {
			return f
		}
	}
	return nil
}

// Device is what the kernel says of one device.
type Device struct {
	Index     int
	Name      string
	MAC       net.HardwareAddr
	MTU       int
	Up        bool
	Promisc   bool
	Master    int
	Alias     string
	Kind      string // IFLA_INFO_KIND, empty for hardware
	Link      int    // index of the parent or peer
	LinkNetNS int    // netnsid of Link, or -1

	Hardware uint16 // ARPHRD_ constant: what its frames are
	Loopback bool
	Marked   bool // AddVLAN or AddIsolated made it, or AddMacvlan where it was told to

	Port    *Port    // of a bridge's port
	Bridge  *Bridge  // of a bridge
	Macvlan *Macvlan // of a macvlan device
	VXLAN   *VXLAN   // of a VXLAN device: VNI, Port, Local, Underlay and Learning
}

// Device asks for one device by name; ErrNotFound when there is none.
func (c *Conn) Device(name string) (*Device, error) {
	return c.device("find link "+name, 0, name)
}

// SyncCarrier makes the kernel take note at once that devices have a carrier.
// It else does so from a work queue (net/core/link_watch.c), and until then a
// bridge's port does not forward and IPv6 does not send: on a busy host the
// first packets after an Add would be lost. To be asked for the one device
// makes it catch up (rtnl_getlink, since Linux 6.8); an older kernel just
// answers.
func (c *Conn) SyncCarrier(names ...string) error {
	b := new(Batch)
	for _, name := range names {
		b.Message(unix.RTM_GETLINK, 0, "find link "+name)
		header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
		b.String(unix.IFLA_IFNAME, name)
		b.Uint32(unix.IFLA_EXT_MASK, extSkipStats)
	}
	return c.Do(b)
}

// DeviceByIndex asks for one device by its index; ErrNotFound when there is
// none.
func (c *Conn) DeviceByIndex(index int) (*Device, error) {
	return c.device(fmt.Sprintf("find link %d", index), index, "")
}

func (c *Conn) device(what string, index int, name string) (*Device, error) {
	var b nlsock.Batch
	b.Message(unix.RTM_GETLINK, 0, what)
	header(&b, unix.AF_UNSPEC, index, 0, 0)
	if name != "" {
		b.String(unix.IFLA_IFNAME, name)
	}
	b.Uint32(unix.IFLA_EXT_MASK, extSkipStats)
	var d *Device
	failed, err := c.sock.Do(&b, func(_ int, typ uint16, payload []byte) {
		if typ == unix.RTM_NEWLINK {
			d = decodeDevice(payload)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case len(failed) > 0 && errors.Is(failed[0], unix.ENODEV):
		return nil, fmt.Errorf("%s: %w", what, ErrNotFound)
	case len(failed) > 0:
		return nil, failed[0]
	case d == nil:
		return nil, fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return d, nil
}

// DeleteLinkIf removes a device that is what its caller takes it for, by its
// index, which nobody else's can have. One that is not there is success.
func (c *Conn) DeleteLinkIf(name string, is func(*Device) bool) error {
	dev, err := c.Device(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || !is(dev) {
		return err
	}
	b := new(Batch)
	b.Message(unix.RTM_DELLINK, 0, "delete link "+name)
	header(&b.Batch, unix.AF_UNSPEC, dev.Index, 0, 0)
	b.tolerate(unix.ENODEV)
	return c.Do(b)
}

// extSkipStats is RTEXT_FILTER_SKIP_STATS: nobody here reads the counters.
const extSkipStats = 1 << 3

// Addr is an address of a device with what matters of its state.
type Addr struct {
	Prefix    netip.Prefix
	Tentative bool // duplicate address detection is under way
	Failed    bool // it found a duplicate
}

// Addrs lists the addresses of one device. The kernel filters, so the cost
// does not grow with the host.
func (c *Conn) Addrs(index int) ([]Addr, error) {
	var addrs []Addr
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := c.addrs(index, family)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, list...)
	}
	return addrs, nil
}

func (c *Conn) addrs(index int, family uint8) (addrs []Addr, err error) {
	if err := c.sock.Strict(); err != nil {
		return nil, fmt.Errorf("list addresses of link %d: %w", index, err)
	}
	for range attempts {
		addrs = nil
		var b nlsock.Batch
		b.Message(unix.RTM_GETADDR, unix.NLM_F_DUMP, fmt.Sprintf("list addresses of link %d", index))
		b.U8(family)
		b.Zeros(3)
		b.U32(uint32(index))
		failed, err := c.sock.Do(&b, func(_ int, typ uint16, payload []byte) {
			if a, ok := decodeAddr(payload); ok && typ == unix.RTM_NEWADDR {
				addrs = append(addrs, a)
			}
		})
		if err == nil && len(failed) > 0 {
			return nil, failed[0]
		}
		if !errors.Is(err, nlsock.ErrInterrupted) {
			return addrs, err
		}
	}
	return nil, err
}

// Routes lists the routes of the main table that leave by one device.
func (c *Conn) Routes(index int) ([]Route, error) {
	var routes []Route
	if err := c.sock.Strict(); err != nil {
		return nil, fmt.Errorf("list routes of link %d: %w", index, err)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var b nlsock.Batch
		b.Message(unix.RTM_GETROUTE, unix.NLM_F_DUMP, fmt.Sprintf("list routes of link %d", index))
		b.U8(family)
		b.Zeros(11) // struct rtmsg
		b.Uint32(unix.RTA_OIF, uint32(index))
		failed, err := c.sock.Do(&b, func(_ int, typ uint16, payload []byte) {
			if r, ok := decodeRoute(payload); ok && typ == unix.RTM_NEWROUTE {
				routes = append(routes, r)
			}
		})
		if err != nil {
			return nil, err
		}
		// ENOENT: no table of this family yet.
		if len(failed) > 0 && failed[0].Errno != unix.ENOENT {
			return nil, failed[0]
		}
	}
	return routes, nil
}

// DeleteLinkHere removes a device of the calling thread's namespace. One that
// is not there is success.
func DeleteLinkHere(name string) error {
	c, err := Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	b := new(Batch)
	b.DeleteLink(name)
	if err := c.Do(b); err != nil && !Missing(err) {
		return err
	}
	return nil
}
