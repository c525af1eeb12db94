// Package dhcp is the IPAM plugin dhcp: it asks the agent, which has to stay
// to renew, for a lease of the segment's DHCP server.
package dhcp

import (
	"context"
	"errors"

	"github.com/berth-net/berth/plugins"
)

// Driver implements plugins.Driver.
type Driver struct{}

// New is the driver; it keeps no state of its own.
func New() *Driver { return &Driver{} }

// NewAsk is what the agent is asked for a request: what its configuration
// says in "ipam". It fails with CodeDecode or CodeInvalidConfig.
func NewAsk(verb string, req *plugins.Request) (Ask, error) {
	c, err := parse(req.Config)
	if err != nil {
		return Ask{}, err
	}
	return c.ask(verb, req)
}

func (c *config) ask(verb string, req *plugins.Request) (Ask, error) {
	options, err := c.provided(req.Args.Raw)
	if err != nil {
		return Ask{}, err
	}
	a := Ask{
		Verb: verb, Network: req.Name, ContainerID: req.ContainerID, IfName: req.IfName, NetNS: req.NetNS,
		Hostname: req.Args.Pod.Name, IPv4: c.wants4(), IPv6: c.IPv6, Provide: options, Request: c.requested(), Priority: c.Priority,
	}
	for _, r := range c.Routes {
		a.Routes = append(a.Routes, plugins.Route{Dst: r.Dst.Masked(), Gateway: r.GW})
	}
	return a, nil
}

// call asks the agent that the request's configuration names.
func (d *Driver) call(ctx context.Context, verb string, req *plugins.Request) (*Answer, error) {
	c, err := parse(req.Config)
	if err != nil {
		return nil, err
	}
	a, err := c.ask(verb, req)
	if err != nil {
		return nil, err
	}
	return call(ctx, c.Socket, a)
}

// Add has the agent get a lease for the device, which must exist.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	answer, err := d.call(ctx, "ADD", req)
	if errors.Is(err, ErrNoAgent) {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "dhcp: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return &plugins.Result{IPs: answer.IPs, Routes: answer.Routes, DNS: answer.DNS}, nil
}

// Check makes sure that the agent holds the lease.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	_, err := d.call(ctx, "CHECK", req)
	return err
}

// Del has the lease released. Without an agent nobody renews it, and it ends
// of itself.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	_, err := d.call(ctx, "DEL", req)
	if errors.Is(err, ErrNoAgent) {
		return nil
	}
	return err
}

// GC has nothing to do: the agent lets go of leases whose namespace is gone.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error { return nil }

// Status tells whether the agent runs.
func (d *Driver) Status(ctx context.Context, net *plugins.Network) error {
	c, err := parse(net.Config)
	if err != nil {
		return err
	}
	if _, err := call(ctx, c.Socket, Ask{Verb: "STATUS"}); err != nil {
		return plugins.Errorf(plugins.CodeNotAvailable, "dhcp: %w", err)
	}
	return nil
}
