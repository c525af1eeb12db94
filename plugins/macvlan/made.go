package macvlan

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// maxVLAN is the highest identifier that IEEE 802.1Q gives out.
const maxVLAN = 4094

// isolated is the parent of an internal network: one for each, without a way
// out.
func (p *parent) isolated(network string) (err error) {
	p.name, p.made = netdev.HostName("bmi", network, "", ""), true
	if p.dev, err = p.on.Device(p.name); errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	return err
}

// onDemand tells whether name is that of a VLAN of a device that exists, such
// as eth0.10; then it can be made.
func (p *parent) onDemand(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot < 1 {
		return false
	}
	id, err := strconv.Atoi(name[dot+1:])
	if err != nil || id < 1 || id > maxVLAN || strconv.Itoa(id) != name[dot+1:] {
		return false
	}
	if p.base, err = p.on.Device(name[:dot]); err != nil {
		return false
	}
	p.name, p.made, p.vlanID = name, true, uint16(id)
	return true
}

// stands is the device that the parent is or will stand on; nil where it will
// stand on none.
func (p *parent) stands() *netdev.Device {
	if p.dev != nil {
		return p.dev
	}
	return p.base
}

// ensure makes the parent where it is not there. The caller holds its guard.
func (p *parent) ensure(vlan func(*netdev.Conn, string, *netdev.Device, uint16) error) (err error) {
	if p.dev, err = p.on.Device(p.name); errors.Is(err, netdev.ErrNotFound) {
		if p.vlanID != 0 {
			err = vlan(p.on, p.name, p.base, p.vlanID)
		} else {
			err = p.on.AddIsolated(p.name)
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return plugins.Errorf(plugins.CodeInvalidConfig, "master %s: %w", p.name, err)
		}
		if err == nil {
			p.dev, err = p.on.Device(p.name)
		}
	}
	if err != nil {
		return err
	}
	// A parent is nobody's way to the host.
	if err := quiet(p.name); err != nil {
		return err
	}
	b := new(netdev.Batch)
	b.ChangeLink(p.name, netdev.LinkChange{Up: true})
	return p.on.Do(b)
}

// quiet keeps a device that berth makes on the host from taking addresses of
// its own accord.
func quiet(name string) error {
	return errors.Join(netdev.WriteSysctl("ipv6/conf/"+name+"/accept_ra", "0"), netdev.WriteSysctl("ipv6/conf/"+name+"/addr_gen_mode", "1"))
}

// guard is held while what containers share on a parent is made or taken
// away.
func (d *Driver) guard(ctx context.Context, parent string) (release func(), err error) {
	g, err := d.store.Guard(ctx, "macvlan parent "+parent)
	if err != nil {
		return func() {}, fmt.Errorf("parent %s: %w", parent, err)
	}
	return g.Release, nil
}

// leave takes away what only r still needed on the host. The caller holds the
// guard, and erases the record before it lets go: so the records are the
// count, and a crash at any instant leaves a record that leads here again.
func (d *Driver) leave(r *endpoint.Record, o driven) error {
	made, shim, err := d.sharing(r.Key, o.Parent)
	if err != nil {
		return err
	}
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	if o.HostAccess {
		errs = append(errs, closeHostAccess(c, o.Parent, r.Addresses, shim))
	}
	if o.Made && made == 0 {
		errs = append(errs, deleteMarked(c, o.Parent))
	}
	return errors.Join(errs...)
}

// sharing counts the other attachments that need the made parent and its
// shim.
func (d *Driver) sharing(self endpoint.Key, parent string) (made, shim int, err error) {
	records, err := attach.Records(d.store, "")
	for _, r := range records {
		if r.Driver != driverName || r.Key == self {
			continue
		}
		o, err := drivenOf(r)
		if err != nil || o.InContainer || o.Parent != parent {
			continue
		}
		made++
		if o.HostAccess {
			shim++
		}
	}
	return made, shim, err
}

// deleteMarked deletes a device that berth made; a stranger's of the same
// name stays.
func deleteMarked(c *netdev.Conn, name string) error {
	return c.DeleteLinkIf(name, func(d *netdev.Device) bool { return d.Marked })
}
