// Package overlay attaches containers of several hosts to one Ethernet
// segment over VXLAN.
//
// On each host a network is a bridge and, as one of its ports, a VXLAN device.
// The bridge has the gateway's addresses and MAC, the same on every host, so
// a container's way out is on its own host.
package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct{ store *state.Store }

// New is the driver with its records in store.
func New(store *state.Store) *Driver { return &Driver{store: store} }

// driven is what the driver's records remember, so that Del needs neither the
// configuration nor an agent.
type driven struct {
	Bridge   string       `json:"bridge"`
	VXLAN    string       `json:"vxlan"`
	VNI      uint32       `json:"vni"`
	Port     uint16       `json:"port"`
	Local    netip.Addr   `json:"local,omitzero"`
	Gateways []netip.Addr `json:"gateways,omitempty"`
	Mesh     string       `json:"mesh,omitempty"` // device that an encrypted network travels by, and no other
	IPMasq   bool         `json:"ipMasq,omitempty"`
	Internal bool         `json:"internal,omitempty"`

	ControlPlane string `json:"controlPlane,omitempty"`

	IPAM json.RawMessage `json:"ipam,omitempty"` // as the agent cut it down
}

// Add makes the host's part of the segment where it is missing, and the
// container's device on it.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	c, err := parse(&req.Network)
	if err != nil {
		return nil, err
	}
	m, err := d.join(ctx, c, req)
	if err != nil {
		return nil, err
	}
	defer m.close()
	w, err := newWiring(m, req) // while the agent answers
	if err != nil {
		return nil, err
	}
	defer w.close()
	a, err := m.begin(ctx, d, req)
	if err != nil {
		return nil, err
	}
	w.a, w.driven, w.gateways = a, m.driven, gatewaysOf(a.IPAM)
	m.coming(w)
	result, err := w.connect(ctx)
	if err != nil {
		err = errors.Join(a.Abort(w.whenTaken(err)), d.dropUnused(ctx, req.Name, w.driven))
		m.changed(ctx)
		return nil, err
	}
	if err := a.Done(result); err != nil {
		return nil, err
	}
	m.ready(ctx, w)
	return result, nil
}

// driven is what a record remembers of the configuration, whose ranges have
// these gateways.
func (c *Config) driven(gateways []netip.Prefix) driven {
	return driven{
		Bridge: c.Bridge, VXLAN: c.vxlanName(), VNI: c.VNI, Port: c.Port, Local: c.Local, IPAM: c.IPAM,
		Gateways: addrsOf(gateways), IPMasq: c.IPMasq, Internal: c.Internal, ControlPlane: c.ControlPlane, Mesh: c.mesh(),
	}
}

func hostName(req *plugins.Request) string {
	return netdev.HostName("vo", req.Name, req.ContainerID, req.IfName)
}

// gateways are those of the ranges, each with its subnet's length. Those of
// another's IPAM plugin are known only when it has answered.
func (c *Config) gateways() ([]netip.Prefix, error) {
	if c.IPAM == nil {
		return nil, nil
	}
	conf, err := ipam.Parse(c.IPAM)
	if err != nil {
		return nil, err
	}
	return gatewaysOf(conf), nil
}

func gatewaysOf(conf *ipam.Config) (gateways []netip.Prefix) {
	if conf == nil {
		return nil
	}
	for _, set := range conf.Ranges {
		for _, r := range set {
			if r.Gateway.IsValid() {
				gateways = appendNew(gateways, netip.PrefixFrom(r.Gateway, r.Subnet.Bits()))
			}
		}
	}
	return gateways
}

func appendNew(list []netip.Prefix, p netip.Prefix) []netip.Prefix {
	for _, have := range list {
		if have == p {
			return list
		}
	}
	return append(list, p)
}

func addrsOf(prefixes []netip.Prefix) (addrs []netip.Addr) {
	for _, p := range prefixes {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

// Del removes the container's device, and with the network's last one the
// host's part of the segment.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	var was driven
	err := attach.End(ctx, d.store, req, func(r *endpoint.Record) (err error) {
		was, err = drivenOf(r)
		return errors.Join(err, teardown(req, r, was))
	})
	if was.VXLAN == "" {
		return err
	}
	d.withdraw(ctx, req)
	return errors.Join(err, d.dropUnused(ctx, req.Name, was))
}

// drivenOf is empty where there is no record.
func drivenOf(r *endpoint.Record) (was driven, err error) {
	if r == nil || len(r.Driven) == 0 {
		return was, nil
	}
	if err = coldjson.Unmarshal(r.Driven, &was); err != nil {
		err = fmt.Errorf("decode record of %s: %w", r.Key, err)
	}
	return was, err
}

// teardown removes what is the attachment's own.
func teardown(req *plugins.Request, r *endpoint.Record, was driven) error {
	errs := []error{}
	if r != nil && was.Bridge != "" {
		fw, err := firewall.Open("")
		if err == nil {
			err = fw.Del(was.policy(), was.member(r))
		}
		errs = append(errs, err, firewall.FlushUDP(r.Ports))
	}
	return errors.Join(append(errs, withdrawFromFabric(was, r), netdev.DeleteLinkHere(hostName(req)))...)
}

// GC removes what the request does not list.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	return attach.GC(ctx, d.store, req, d.Del)
}

// Status tells whether the next Add could succeed.
func (d *Driver) Status(ctx context.Context, net *plugins.Network) error {
	c, err := parse(net)
	if err != nil {
		return err
	}
	if c.ControlPlane == Etcd {
		return d.agentStatus(ctx)
	}
	dev, err := netdev.Here()
	if err != nil {
		return err
	}
	defer dev.Close()
	if _, err := c.locate(dev); err != nil {
		return &plugins.Error{Code: plugins.CodeNotAvailable, Err: err}
	}
	if c.IPAM == nil {
		return nil
	}
	return attach.AddressStatus(ctx, d.store, net)
}

// Warnings are of other tools' rules that no Add can answer.
func (d *Driver) Warnings(net *plugins.Network) ([]string, error) {
	c, err := parse(net)
	if err != nil || c.Internal {
		return nil, err
	}
	return firewall.Obstacles(c.Bridge, false)
}

// mesh is the device that an encrypted network is bound to; empty for others.
func (c *Config) mesh() string {
	if c.Encrypted {
		return c.Underlay
	}
	return ""
}

func (was driven) sealed() firewall.Sealed {
	return firewall.Sealed{Device: was.Mesh, Port: was.Port, VNI: was.VNI}
}

func (was driven) anycast() firewall.Anycast {
	return firewall.Anycast{Port: was.VXLAN, MAC: gatewayMAC(was.VNI), Gateways: was.Gateways}
}

func (was driven) policy() *firewall.Network {
	return &firewall.Network{Bridge: was.Bridge, Internal: was.Internal, Isolated: true, Hidden: was.IPMasq}
}

func (was driven) member(r *endpoint.Record) *firewall.Endpoint {
	e := &firewall.Endpoint{Masquerade: was.IPMasq && !was.Internal, Ports: r.Ports}
	for _, p := range r.Addresses {
		e.Addresses = append(e.Addresses, p.Addr())
	}
	return e
}
