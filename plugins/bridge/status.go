package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// Status tells what would keep the next Add from succeeding.
func (d *Driver) Status(ctx context.Context, net *plugins.Network) error {
	conf, err := parse(net.Config)
	if err != nil {
		return err
	}
	if err := bridgeStatus(conf); err != nil {
		return notAvailable(err)
	}
	if _, err := firewall.Open(conf.backend()); err != nil {
		return notAvailable(err)
	}
	if conf.ipam {
		return attach.AddressStatus(ctx, d.store, net)
	}
	return nil
}

func notAvailable(err error) error { return &plugins.Error{Code: plugins.CodeNotAvailable, Err: err} }

func bridgeStatus(conf *Config) error {
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	// Asking for a change of nothing tells whether changes are allowed.
	b := new(netdev.Batch)
	b.ChangeLink("lo", netdev.LinkChange{})
	if err := c.Do(b); errors.Is(err, unix.EPERM) {
		return fmt.Errorf("no permission to change network devices; CAP_NET_ADMIN is needed: %w", err)
	}
	dev, err := c.Device(conf.Bridge)
	if errors.Is(err, netdev.ErrNotFound) {
		return nil // made on demand
	}
	if err != nil {
		return err
	}
	if dev.Kind != "bridge" {
		return fmt.Errorf("device %s is there and is no bridge but %q", conf.Bridge, dev.Kind)
	}
	ports, err := os.ReadDir("/sys/class/net/" + conf.Bridge + "/brif")
	if err == nil && len(ports) >= maxPorts {
		return fmt.Errorf("bridge %s is full: it has %d ports", conf.Bridge, len(ports))
	}
	return nil
}
