package bridge

import (
	"errors"
	"fmt"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins/attach"
)

// shortcut is the containers' way around br_netfilter.
func (c *Config) shortcut() *attach.Shortcut {
	return &attach.Shortcut{Bridge: c.Bridge, Gateway: c.IsGateway && !c.vlans(), NoICC: c.noICC()}
}

// warnings are what br_netfilter breaks and no shortcut mends. What comes from
// a VLAN is tracked, and its translation settled, while it is bridged to the
// gateway's device, which is not yet the way out.
func (c *Config) warnings() []string {
	if !c.IsGateway || !c.vlans() || attach.FiltersBridged() == "" {
		return nil
	}
	return []string{fmt.Sprintf("containers in VLAN %d do not get out of %s, and their published ports do not answer: br_netfilter translates what is still being bridged; "+
		"set net.bridge.bridge-nf-call-iptables=0 and net.bridge.bridge-nf-call-ip6tables=0, or give the network a bridge of its own without vlan", c.VLAN, c.Bridge)}
}

// Reload makes the shortcuts that records want by now: another tool may have
// switched br_netfilter on since.
func (d *Driver) Reload(records []*endpoint.Record) error {
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	for _, r := range records {
		if r.Driver != "bridge" {
			continue
		}
		_, _, conf, err := policy(r)
		if err == nil {
			_, err = conf.shortcut().Make(c, r)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
