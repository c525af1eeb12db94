package macvlan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// dyingFor bounds the wait for a device of a namespace that is being taken
// down: the kernel does that in the background, after the last process left.
const dyingFor = 2 * time.Second

// bringUp brings the device up. The kernel refuses with EADDRINUSE while
// another device on the parent has the hardware address: when a container is
// started again, its old namespace's for a moment.
func (w *wiring) bringUp(ctx context.Context) error {
	deadline := time.Now().Add(dyingFor)
	for pause := time.Millisecond; ; pause *= 2 {
		err := w.dev.Up()
		if !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
		if why := w.explainMAC(err, w.dev.MAC); why != nil {
			return why
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("MAC %s is that of %s or of another device on it: %w", w.dev.MAC, w.parent.name, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// explainMAC names the living attachment that has the hardware address. It is
// nil where there is none: the device that has it may be about to go.
func (w *wiring) explainMAC(err error, mac net.HardwareAddr) error {
	owner, lookup := w.other(func(r *endpoint.Record, _ driven) bool { return bytes.Equal(r.MAC, mac) && r.Alive() })
	if owner == nil {
		return lookup
	}
	return plugins.Errorf(plugins.CodeInvalidConfig, "MAC %s is that of %s on parent %s: %w", mac, owner.Key, w.parent.name, err)
}

// explain says what the kernel's refusal of a device means.
func (w *wiring) explain(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return plugins.Errorf(plugins.CodeInvalidEnvironment, "CNI_IFNAME: the container has a device %s already: %w", w.req.IfName, err)
	case errors.Is(err, unix.EBUSY):
		return plugins.Errorf(plugins.CodeInvalidConfig, "master %s: %s: %w", w.parent.name, w.parent.occupant(), err)
	case errors.Is(err, unix.EINVAL):
		return w.explainPassthru(err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel makes no macvlan devices (CONFIG_MACVLAN): %w", err)
	}
	return err
}

// occupant tells who receives the parent's frames already: a device has one
// receiver only (netdev_rx_handler_register).
func (p *parent) occupant() string {
	if p.dev.Master != 0 {
		if master, err := p.on.DeviceByIndex(p.dev.Master); err == nil {
			return fmt.Sprintf("it is a port of %s %s, which receives its frames; use %[2]s as the master", master.Kind, master.Name)
		}
	}
	return "another driver receives its frames (ipvlan devices on it, a bridge, a bond, Open vSwitch); " +
		"macvlan and ipvlan cannot share a parent"
}

// explainPassthru names who stands in the way of mode passthru, which has its
// parent for itself.
func (w *wiring) explainPassthru(err error) error {
	wanted := w.conf.Mode == netdev.MacvlanPassthru
	owner, lookup := w.other(func(_ *endpoint.Record, o driven) bool { return wanted || o.Mode == netdev.MacvlanPassthru })
	if lookup != nil {
		return errors.Join(err, lookup)
	}
	why := "it cannot be a parent, or a macvlan device in mode passthru has it alone"
	switch {
	case owner != nil && wanted:
		why = "mode passthru takes the parent alone, and " + owner.Key.String() + " is on it"
	case owner != nil:
		why = owner.Key.String() + " has it alone, in mode passthru"
	case wanted:
		why = "mode passthru takes the parent alone, and there are macvlan devices on it"
	}
	return plugins.Errorf(plugins.CodeInvalidConfig, "master %s: %s: %w", w.parent.name, why, err)
}

// other finds another attachment on the same parent of the host that fits. It
// reads every record: for errors only.
func (w *wiring) other(fits func(*endpoint.Record, driven) bool) (found *endpoint.Record, err error) {
	if w.conf.LinkInContainer {
		return nil, nil
	}
	err = w.store.View(func(tx *state.Tx) error {
		records, err := endpoint.List(tx, "")
		for _, r := range records {
			if r.Driver != w.req.Type || r.Key == w.a.Record.Key {
				continue
			}
			if o, err := drivenOf(r); err == nil && !o.InContainer && o.Parent == w.parent.name && fits(r, o) {
				found = r
			}
		}
		return err
	})
	return found, err
}
