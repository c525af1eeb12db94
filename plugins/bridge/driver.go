// Package bridge attaches containers to a Linux bridge of the host by a veth
// pair, masquerades them, publishes their ports and keeps networks apart: in
// one process what upstream's chain of bridge, portmap, firewall and bandwidth
// does in four.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct{ store *state.Store }

// New is the driver with its records in store.
func New(store *state.Store) *Driver { return &Driver{store: store} }

// driven is what the driver's records remember besides the configuration.
type driven struct {
	Bandwidth *plugins.Bandwidth `json:"bandwidth,omitempty"`
	Owned     bool               `json:"owned,omitempty"` // the bridge is berth's
}

// Add attaches the container.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	conf, err := parse(req.Config)
	if err != nil {
		return nil, err
	}
	ports := conf.ports(req.Runtime.PortMappings)
	for i := range ports {
		if err := firewall.ValidateMapping(&ports[i]); err != nil {
			return nil, err
		}
	}
	if err := conf.shortcut().CheckPorts(ports); err != nil {
		return nil, err
	}
	spec := attach.Spec{
		HostIfName: netdev.HostName("veth", req.Name, req.ContainerID, req.IfName),
		Segment:    conf.segment(),
		Ports:      ports, Driven: driven{Bandwidth: req.Runtime.Bandwidth}, Del: d.Del,
	}
	if conf.ipam {
		spec.IPAM = conf.IPAM
	}
	a, err := attach.Begin(ctx, d.store, req, spec)
	if err != nil {
		return nil, err
	}
	w := &wiring{conf: conf, a: a, req: req}
	result, err := w.connect(ctx)
	if err != nil {
		return nil, a.Abort(err)
	}
	return result, a.Done(result)
}

// Del detaches the container: rules first, so that nothing is sent to an
// address that may be another's next, then the device.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	return attach.End(ctx, d.store, req, func(r *endpoint.Record) error {
		name := netdev.HostName("veth", req.Name, req.ContainerID, req.IfName)
		if r == nil {
			return netdev.DeleteLinkHere(name)
		}
		return teardown(r)
	})
}

// teardown removes what the record names, and goes on past errors.
func teardown(r *endpoint.Record) error {
	return errors.Join(removeRules(r), netdev.DeleteLinkHere(r.HostIfName))
}

func removeRules(r *endpoint.Record) error {
	n, e, conf, err := policy(r)
	if err != nil {
		return err
	}
	fw, err := firewall.Open(conf.backend())
	if err != nil {
		return err
	}
	return errors.Join(fw.Del(n, e), firewall.FlushUDP(e.Ports))
}

// policy is what the packet filter has of a recorded attachment.
func policy(r *endpoint.Record) (*firewall.Network, *firewall.Endpoint, *Config, error) {
	conf, err := parse(r.Config)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read record of %s: %w", r.Key, err)
	}
	return conf.network(), conf.endpoint(r), conf, nil
}

// endpoint is the packet filter's view of an attachment.
func (c *Config) endpoint(r *endpoint.Record) *firewall.Endpoint {
	e := &firewall.Endpoint{Masquerade: c.IPMasq, Ports: r.Ports, Strict: c.StrictPublish}
	for _, p := range r.Addresses {
		e.Addresses = append(e.Addresses, p.Addr())
	}
	if c.MACSpoofCheck {
		e.Port, e.MAC = r.HostIfName, []byte(r.MAC)
	}
	return e
}

// network is the packet filter's view of the configuration. Containers that
// are masqueraded have addresses that mean nothing outside: nobody there has
// to reach them.
func (c *Config) network() *firewall.Network {
	return &firewall.Network{
		Bridge: c.gatewayDevice(), Internal: c.Internal, Isolated: c.isolated(), Hidden: c.IPMasq, NoICC: c.noICC(),
	}
}

// GC removes what the request does not list.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	return attach.GC(ctx, d.store, req, d.Del)
}

// Remove takes away the gateway's device and the bridge that berth made for
// the network, and the network out of the packet filter. A bridge that has
// ports still is another network's as well, and goes with the last.
func (d *Driver) Remove(_ context.Context, net *plugins.Network) error {
	conf, err := parse(net.Config)
	if err != nil {
		return err
	}
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	errs := []error{d.removeGatewayDevice(c, conf, net.Name)}
	ours, err := mayRemove(c, conf.Bridge, func(alias string) bool { return strings.HasPrefix(alias, netdev.AliasPrefix) })
	if ours && portsOf(conf.Bridge) == 0 {
		errs = append(errs, forget(conf), netdev.DeleteLinkHere(conf.Bridge))
	}
	return errors.Join(append(errs, err)...)
}

// mayRemove tells a device that has such an alias, or is gone already.
func mayRemove(c *netdev.Conn, name string, ours func(alias string) bool) (bool, error) {
	dev, err := c.Device(name)
	if errors.Is(err, netdev.ErrNotFound) {
		return true, nil
	}
	return err == nil && ours(dev.Alias), err
}

func forget(conf *Config) error {
	fw, err := firewall.Open(conf.backend())
	if err != nil {
		return err
	}
	return fw.Forget(conf.network())
}

// Policies are the attachments of this driver's records, for a rebuild of the
// packet filter, by backend.
func (d *Driver) Policies(records []*endpoint.Record) (map[string][]firewall.Attachment, error) {
	all := make(map[string][]firewall.Attachment)
	var errs []error
	for _, r := range records {
		if r.Driver != "bridge" {
			continue
		}
		n, e, conf, err := policy(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all[conf.backend()] = append(all[conf.backend()], firewall.Attachment{Network: *n, Endpoint: *e})
	}
	return all, errors.Join(errs...)
}
