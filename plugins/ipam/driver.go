// Package ipam is the IPAM plugin berth-ipam: the leases of package ipam for other plugins.
//
// It keeps no endpoint's record, which is the calling plugin's to keep: a
// lease carries its container's namespace itself.
package ipam

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/coldjson"
	leases "github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct{ store *state.Store }

// New is the driver with its leases in store.
func New(store *state.Store) *Driver { return &Driver{store: store} }

// Add leases an address of each range set. Asked again for the same
// attachment it gives the same ones.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	conf, err := parse(req.Config)
	if err != nil {
		return nil, err
	}
	lease, err := leaseRequest(req)
	if err != nil {
		return nil, err
	}
	var addresses []leases.Address
	err = d.store.Update(func(tx *state.Tx) (err error) {
		addresses, err = leases.Lease(tx, conf, lease)
		return err
	})
	if err != nil {
		return nil, err
	}
	result := &plugins.Result{Routes: conf.Routes, DNS: conf.DNS}
	for _, a := range addresses {
		result.IPs = append(result.IPs, plugins.IP{Interface: -1, Address: a.Prefix, Gateway: a.Gateway})
	}
	return result, nil
}

// parse reads the "ipam" object and the capability "ipRanges".
func parse(raw []byte) (*leases.Config, error) {
	var conf struct {
		IPAM          json.RawMessage `json:"ipam"`
		RuntimeConfig struct {
			IPRanges json.RawMessage `json:"ipRanges"`
		} `json:"runtimeConfig"`
	}
	if err := coldjson.Unmarshal(raw, &conf); err != nil {
		return nil, plugins.Errorf(plugins.CodeDecode, "configuration: %w", err)
	}
	if len(conf.IPAM) == 0 {
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "ipam: missing; it holds the ranges that addresses are leased from")
	}
	c, err := leases.ParseWith(conf.IPAM, conf.RuntimeConfig.IPRanges)
	if err != nil {
		return nil, err
	}
	if len(c.Ranges) == 0 {
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "ipam.type: %q is not a name of this plugin", c.Type)
	}
	return c, nil
}

// Check makes sure that the attachment has its lease, and that a prevResult
// tells of it.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	key := keyOf(req)
	held, err := d.leased(key)
	if err != nil {
		return err
	}
	if len(held) == 0 {
		return plugins.Errorf(plugins.CodeUnknownContainer, "check %s: it has no lease", key)
	}
	for _, a := range held {
		if req.Prev != nil && !slices.ContainsFunc(req.Prev.IPs, func(p plugins.IP) bool { return p.Address.Addr() == a }) {
			return plugins.Errorf(plugins.CodeInvalidConfig, "prevResult.ips: %s is missing, which is leased to %s", a, key)
		}
	}
	return nil
}

// Del frees what the attachment has leased. It writes nothing where that is
// nothing, so that a Del too many costs no wait for the state's lock.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	key := keyOf(req)
	held, err := d.leased(key)
	if err != nil || len(held) == 0 {
		return err
	}
	return d.store.Update(func(tx *state.Tx) error { return leases.Release(tx, key) })
}

func (d *Driver) leased(key endpoint.Key) (held []netip.Addr, err error) {
	err = d.store.View(func(tx *state.Tx) (err error) {
		held, err = leases.Leased(tx, key)
		return err
	})
	return held, err
}

// Status tells whether the next Add would find a free address.
func (d *Driver) Status(ctx context.Context, net *plugins.Network) error {
	conf, err := parse(net.Config)
	if err != nil {
		return err
	}
	return leases.Room(d.store, conf, net.Name)
}

func keyOf(req *plugins.Request) endpoint.Key {
	return endpoint.Key{Network: req.Name, ContainerID: req.ContainerID, IfName: req.IfName}
}
