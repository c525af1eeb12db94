package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

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

// Warnings are of other tools' rules that no Add can answer: it succeeds, and
// nothing passes. They are not for Status: every error of that takes the whole
// node out of service (docs/adr/0186).
func (d *Driver) Warnings(net *plugins.Network) ([]string, error) {
	conf, err := parse(net.Config)
	if err != nil || conf.Internal || !conf.IsGateway { // nothing of the latter is forwarded
		return nil, err
	}
	return firewall.Obstacles(conf.gatewayDevice(), conf.StrictPublish)
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
		return fmt.Errorf("device %s is there and is no bridge%s; give the network another one by its key bridge", conf.Bridge, but(dev.Kind))
	}
	if n := portsOf(conf.Bridge); n >= maxPorts {
		return fmt.Errorf("bridge %s is full: it has %d ports", conf.Bridge, n)
	}
	if conf.vlans() && !strings.HasPrefix(dev.Alias, netdev.AliasPrefix) && (dev.Bridge == nil || !dev.Bridge.VLANFiltering) {
		return fmt.Errorf("bridge %s was not made by berth and does not filter VLANs", conf.Bridge)
	}
	return nil
}

// but names the kind of a device that has one: hardware has none.
func but(kind string) string {
	if kind == "" {
		return ""
	}
	return " but of the kind " + kind
}

// portsOf counts a bridge's ports; 0 where that is not to be seen.
func portsOf(bridge string) int {
	ports, _ := os.ReadDir("/sys/class/net/" + bridge + "/brif")
	return len(ports)
}
