package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
)

// errGone says that the container's namespace or device is no more.
var errGone = errors.New("the container is gone")

// place is a device, found again each time: who held its namespace open would
// keep a dead container's alive. Its identities tell it from another that has
// the same path or name by now.
type place struct {
	path   string
	id     netns.ID
	ifname string
	mac    net.HardwareAddr
}

// newPlace finds the device, which exists and may be down.
func newPlace(path, ifname string) (*place, error) {
	w := &place{path: path, ifname: ifname}
	err := w.in(func(ns *netns.Handle) (err error) {
		w.id, err = ns.ID()
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, w.onLink(func(_ *netdev.Conn, dev *netdev.Device) error {
		w.mac = dev.MAC
		return nil
	})
}

// in calls fn inside the namespace, unless it is gone.
func (w *place) in(fn func(*netns.Handle) error) error {
	ns, err := netns.Open(w.path)
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	defer ns.Close()
	if id, err := ns.ID(); err != nil || w.id != (netns.ID{}) && id != w.id {
		return fmt.Errorf("%w: %s is another namespace", errGone, w.path)
	}
	return fn(ns)
}

// onLink calls fn with the device.
func (w *place) onLink(fn func(*netdev.Conn, *netdev.Device) error) error {
	return w.in(func(ns *netns.Handle) error {
		c, err := netdev.DialIn(ns)
		if err != nil {
			return err
		}
		defer c.Close()
		dev, err := c.Device(w.ifname)
		if errors.Is(err, netdev.ErrNotFound) {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		if err != nil {
			return err
		}
		if w.mac != nil && !bytes.Equal(dev.MAC, w.mac) {
			return fmt.Errorf("%w: %s has MAC %s and is another device than the one with %s", errGone, w.ifname, dev.MAC, w.mac)
		}
		return fn(c, dev)
	})
}

// up brings the device up.
func (w *place) up() error {
	return w.onLink(func(c *netdev.Conn, dev *netdev.Device) error {
		b := new(netdev.Batch)
		b.ChangeLink(dev.Name, netdev.LinkChange{Up: true, Notify: true})
		return c.Do(b)
	})
}

// there tells whether the device is.
func (w *place) there() error {
	return w.onLink(func(*netdev.Conn, *netdev.Device) error { return nil })
}

// bind has a socket use the device alone, whatever the container's routes say
// of the other end's address.
func (w *place) bind(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), w.ifname) })
	return errors.Join(cerr, err)
}
