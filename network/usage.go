package network

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/state"
)

// Usage tells how full each range of a network is; nil where its addresses
// are not leased by berth.
func (c *Catalogue) Usage(name string) ([]ipam.Usage, error) {
	n, err := c.Get(name)
	if err != nil {
		return nil, err
	}
	conf, err := n.ipam()
	if err != nil || conf == nil {
		return nil, err
	}
	var held []ipam.Holding
	var taken []ipam.Conflict
	err = c.store.View(func(tx *state.Tx) (err error) {
		if held, err = ipam.Holdings(tx, n.Name); err != nil {
			return err
		}
		taken, err = ipam.Conflicts(tx, n.Name)
		return err
	})
	return ipam.Usages(conf, held, taken), err
}

// ipam is the decoded "ipam" object of the network's first plugin that has
// one; nil where there is none, or where it is another's.
func (n *Network) ipam() (*ipam.Config, error) {
	var list struct {
		Plugins []struct {
			IPAM json.RawMessage `json:"ipam"`
		} `json:"plugins"`
	}
	if err := json.Unmarshal(n.Config, &list); err != nil {
		return nil, fmt.Errorf("read network %s: %w", n.Name, err)
	}
	for _, p := range list.Plugins {
		if len(p.IPAM) <= len("{}") {
			continue
		}
		conf, err := ipam.Parse(p.IPAM)
		if err != nil || len(conf.Ranges) == 0 {
			return nil, errors.Join(err)
		}
		return conf, nil
	}
	return nil, nil
}

// Unused are the keys of a network's "ipam" object that are accepted for the
// sake of other plugins' configurations and mean nothing here.
func (c *Catalogue) Unused(name string) ([]string, error) {
	n, err := c.Get(name)
	if err != nil {
		return nil, err
	}
	conf, err := n.ipam()
	if err != nil || conf == nil {
		return nil, err
	}
	return conf.Unused, nil
}
