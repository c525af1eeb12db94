package attach

import (
	"errors"
	"net"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// Device is the container's device while an Add sets it up. Its socket is in
// the container's namespace, so that only what has no other way enters that.
type Device struct {
	*netdev.Device
	Conn *netdev.Conn
	a    *Attachment
	late bool // the addresses came after the device was made

	probed, pinned bool
}

// Make makes the container's device by create, down, and sets what must hold
// before it comes up: router advertisements are not believed (CVE-2020-10749),
// and IPv6 is off where no address of it was asked for (CVE-2024-32473). A
// network without IPAM leaves IPv6 to the container. create runs with the
// thread in the container's namespace.
func (a *Attachment) Make(ifname string, create func() error) (*Device, error) {
	d := &Device{a: a, late: a.IPAM != nil && !a.IPAM.Embedded()}
	err := a.Container.Do(func() (err error) {
		if d.Conn, err = netdev.Dial(); err != nil {
			return err
		}
		if err := create(); err != nil {
			return err
		}
		if d.Device, err = d.Conn.Device(ifname); err != nil {
			return err
		}
		return d.restrain()
	})
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close closes the socket.
func (d *Device) Close() {
	if d.Conn != nil {
		d.Conn.Close()
	}
}

// restrain runs in the container's namespace.
func (d *Device) restrain() error {
	proc, conf := netdev.OpenProc(), "ipv6/conf/"+d.Name
	defer proc.Close()
	if err := proc.WriteSysctl(conf+"/accept_ra", "0"); err != nil || d.a.IPAM == nil {
		return err
	}
	for _, addr := range d.a.Addresses {
		if addr.Prefix.Addr().Is6() {
			return errors.Join(proc.WriteSysctl(conf+"/disable_ipv6", "0"), proc.WriteSysctl(conf+"/ndisc_notify", "1"))
		}
	}
	return proc.WriteSysctl(conf+"/disable_ipv6", "1")
}

// SetMAC gives it another hardware address.
func (d *Device) SetMAC(mac net.HardwareAddr) error {
	b := new(netdev.Batch)
	b.ChangeLink(d.Name, netdev.LinkChange{MAC: mac})
	if err := d.Conn.Do(b); err != nil {
		return err
	}
	d.MAC = mac
	return nil
}

// Up brings the device up.
func (d *Device) Up() error {
	b := new(netdev.Batch)
	b.ChangeLink(d.Name, netdev.LinkChange{Up: true, Notify: true})
	return d.Conn.Do(b)
}

// Setup is what Configure gives a device besides its addresses.
type Setup struct {
	Routes []plugins.Route
	Detect bool // duplicate addresses
	Pinned bool // the device is made for the addresses: others in place of taken ones would not do

	Announce   int              // how often the segment is told; see netdev.Announcements
	Resolve    bool             // ask the segment for the gateways, until they answer
	GatewayMAC net.HardwareAddr // tell the IPv4 gateways alone, whose MAC this is
}

// Configure gives the device, which is up, its addresses and routes and tells
// the segment of them: they may have been another container's.
func (d *Device) Configure(s Setup) error {
	if d.late {
		if err := d.a.Container.Do(d.restrain); err != nil {
			return err
		}
	}
	// An IPv6 address that is given before the kernel knows of the carrier
	// answers neighbours only a second later.
	if err := d.Conn.SyncCarrier(d.Name); err != nil {
		return err
	}
	d.pinned = s.Pinned
	if err := d.Probe(); err != nil {
		return err
	}
	b := new(netdev.Batch)
	for _, addr := range d.a.Addresses {
		b.AddAddr(d.Index, addr.Prefix, s.Detect)
	}
	for _, r := range s.Routes {
		b.AddRoute(d.Index, DeviceRoute(r))
	}
	d.announce(b, s)
	return d.Conn.Do(b)
}

func (d *Device) announce(b *netdev.Batch, s Setup) {
	if len(d.a.Addresses) == 0 {
		return
	}
	b.Announce(d.Name, d.MAC, s.Announce)
	for _, addr := range d.a.Addresses {
		switch {
		case !addr.Gateway.IsValid():
		case s.Resolve:
			b.Resolve(d.Index, addr.Gateway)
		case s.GatewayMAC != nil && addr.Gateway.Is4():
			// IPv6 cannot ask before its link-local address is proven unique.
			b.Confirm(d.Index, addr.Gateway, s.GatewayMAC)
		}
	}
}
