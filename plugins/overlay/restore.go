package overlay

import (
	"context"
	"errors"
	"net/netip"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// Devices are the names of a record's bridge and VXLAN device.
func Devices(r *endpoint.Record) (bridge, vxlan string, err error) {
	was, err := drivenOf(r)
	return was.Bridge, was.VXLAN, err
}

// VNI is that of a record's network; 0 where it cannot be read.
func VNI(r *endpoint.Record) uint32 {
	was, _ := drivenOf(r)
	return was.VNI
}

// Clustered tells whether a record's network is driven by etcd.
func Clustered(r *endpoint.Record) bool {
	was, err := drivenOf(r)
	return err == nil && r.Driver == "overlay" && was.ControlPlane == Etcd
}

// Encrypted tells whether a record's network travels by the mesh alone.
func Encrypted(r *endpoint.Record) bool {
	was, err := drivenOf(r)
	return err == nil && was.Mesh != ""
}

// Tunnel is what an agent must know of a network's VXLAN device to try it.
type Tunnel struct {
	Port      uint16
	Encrypted bool
	Checksums string // OffloadOn, OffloadOff or OffloadAuto
}

// TunnelOf reads a record.
func TunnelOf(r *endpoint.Record) (Tunnel, error) {
	was, err := drivenOf(r)
	if err != nil {
		return Tunnel{}, err
	}
	c, err := parse(&plugins.Network{Name: r.Network, Type: r.Driver, Config: r.Config})
	if err != nil {
		return Tunnel{}, err
	}
	return Tunnel{Port: was.Port, Encrypted: c.Encrypted, Checksums: c.Checksums}, nil
}

// Intact tells whether both devices stand as they were made, and the host has
// the address that the VXLAN device sends from.
func Intact(r *endpoint.Record) bool {
	was, err := drivenOf(r)
	if err != nil {
		return false
	}
	host, err := netdev.Dial()
	if err != nil {
		return false
	}
	defer host.Close()
	vxlan, err := host.Device(was.VXLAN)
	if err != nil {
		return false
	}
	s := segment{host: host, Config: &Config{VNI: was.VNI}}
	bridge, sound := s.sound(vxlan)
	return sound && bridge.Name == was.Bridge
}

// Restore makes the host's part of a record's network again, with local as its
// end of the tunnels, and puts the containers' devices back on the bridge. For
// an encrypted network local is the address on the mesh.
func Restore(ctx context.Context, store *state.Store, r *endpoint.Record, local netip.Addr) error {
	was, err := drivenOf(r)
	if err != nil {
		return err
	}
	c, err := parse(&plugins.Network{Name: r.Network, Type: r.Driver, Config: r.Config})
	if err != nil {
		return err
	}
	c.VNI, c.Port, c.Local, c.IPAM = was.VNI, was.Port, local, was.IPAM
	if c.Encrypted = was.Mesh != ""; c.Encrypted {
		c.Underlay = was.Mesh
	}
	gateways, err := c.gateways()
	if err != nil {
		return err
	}
	host, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer host.Close()
	s := &segment{Config: c, host: host, gateways: gateways}
	bridge, _, err := s.ensure(ctx, store)
	if err != nil {
		return err
	}
	return s.replug(store, bridge.Index) // ensure may have found all in place
}

// replug makes the host's ends of the containers' pairs ports of the bridge, and
// leads the ways to their published ports there.
func (s *segment) replug(store *state.Store, bridge int) error {
	records, err := attach.Records(store, s.network)
	errs := []error{err}
	for _, r := range records {
		port, err := s.host.Device(r.HostIfName)
		if err == nil && port.Master != bridge {
			b := new(netdev.Batch)
			b.ChangeLink(r.HostIfName, netdev.LinkChange{Master: bridge})
			if err = s.host.Do(b); err == nil {
				err = reopenWays(s.host, r)
			}
		}
		if !errors.Is(err, netdev.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
