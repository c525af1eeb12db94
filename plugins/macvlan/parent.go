package macvlan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
)

// parent is the device that containers' devices are made on.
type parent struct {
	on   *netdev.Conn // in the parent's namespace
	name string
	dev  *netdev.Device // nil: still to be made

	made   bool // by berth, on demand
	base   *netdev.Device
	vlanID uint16 // on base; 0: isolated
}

func (p *parent) close() { p.on.Close() }

// openParent finds the parent and sees whether it can serve.
func (d *Driver) openParent(conf *config, network, container string) (*parent, error) {
	p := new(parent)
	if err := p.open(conf, container); err != nil {
		return nil, err
	}
	if err := d.findParent(p, conf, network); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// open opens a socket in the namespace where the parent is.
func (p *parent) open(conf *config, container string) (err error) {
	if !conf.LinkInContainer {
		p.on, err = netdev.Dial()
		return err
	}
	ns, err := netns.Open(container)
	if err != nil {
		return plugins.Errorf(plugins.CodeInvalidEnvironment, "CNI_NETNS: %w", err)
	}
	defer ns.Close()
	p.on, err = netdev.DialIn(ns)
	return err
}

func (d *Driver) findParent(p *parent, conf *config, network string) (err error) {
	if conf.Internal {
		return p.isolated(network)
	}
	if conf.Master == "" {
		p.dev, err = p.on.DefaultRouteDevice()
	} else {
		p.dev, err = p.on.Device(conf.Master)
	}
	if errors.Is(err, netdev.ErrNotFound) && !conf.LinkInContainer && p.onDemand(conf.Master) {
		err = nil
	}
	switch {
	case errors.Is(err, netdev.ErrNotFound) && conf.Master == "":
		return plugins.Errorf(plugins.CodeInvalidConfig, "master: none is given and %s has no default route whose device could serve: %w", conf.place(), err)
	case errors.Is(err, netdev.ErrNotFound):
		return plugins.Errorf(plugins.CodeInvalidConfig, "master: %s has no device %q: %w", conf.place(), conf.Master, err)
	case err != nil:
		return err
	}
	if p.dev != nil {
		p.name, p.made = p.dev.Name, p.dev.Marked
	}
	if why := d.unfit(p.stands(), conf); why != nil {
		return plugins.Errorf(plugins.CodeInvalidConfig, "master %s: %w", p.name, why)
	}
	return nil
}

func (c *config) place() string {
	if c.LinkInContainer {
		return "the container"
	}
	return "the host"
}

// unfit tells why a device cannot be a parent.
func (d *Driver) unfit(dev *netdev.Device, conf *config) error {
	switch {
	case dev.Loopback:
		return errors.New("the loopback device has no segment")
	case dev.Hardware != unix.ARPHRD_ETHER:
		return fmt.Errorf("it is no Ethernet device (its ARP hardware type is %d), and macvlan needs frames", dev.Hardware)
	case conf.MTU > dev.MTU:
		return fmt.Errorf("mtu: %d is more than its own %d", conf.MTU, dev.MTU)
	case conf.Mode != netdev.MacvlanPassthru && d.wireless(dev.Name):
		return errors.New("it is a wireless station, and an access point takes frames from the one address " +
			"that has associated only (IEEE 802.11 has no room for another); use a bridge network with masquerade, or mode passthru")
	}
	return nil
}

// wireless tells a device of cfg80211, or of the older wireless extensions.
func (d *Driver) wireless(name string) bool {
	for _, sign := range []string{"phy80211", "wireless"} {
		if _, err := os.Stat(filepath.Join(d.sysfs, "class/net", name, sign)); err == nil {
			return true
		}
	}
	return false
}
