package macvlan

import (
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/state"
)

// NewMaking is New with VLAN devices made by make, for kernels without 802.1Q.
func NewMaking(store *state.Store, make func(c *netdev.Conn, name string, base *netdev.Device, id uint16) error) *Driver {
	d := New(store)
	d.vlan = make
	return d
}

// NewSeeing is New with another /sys.
func NewSeeing(store *state.Store, sysfs string) *Driver {
	d := New(store)
	d.sysfs = sysfs
	return d
}

// ShimName is the device for hostAccess.
func ShimName(parent string) string { return shimName(parent) }
