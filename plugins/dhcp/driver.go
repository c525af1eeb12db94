// Package dhcp is the IPAM plugin dhcp: it asks the agent, which has to stay
// to renew, for a lease of the segment's DHCP server.
package dhcp

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"

	"github.com/berth-net/berth/plugins"
)

// Driver implements plugins.Driver.
type Driver struct{}

// New is the driver; it keeps no state of its own.
func New() *Driver { return &Driver{} }

// config is the plugin's keys. daemonSocketPath is upstream's; ipv6 and ipv4
// choose the protocols. The routes are set besides the server's: DHCPv6 has
// none, and says of no subnet that it is on the link (RFC 8415 section 18.2.10.1).
type config struct {
	Socket string  `json:"daemonSocketPath"`
	IPv4   *bool   `json:"ipv4"`
	IPv6   bool    `json:"ipv6"`
	Routes []route `json:"routes"`
}

type route struct {
	Dst netip.Prefix `json:"dst"`
	GW  netip.Addr   `json:"gw"`
}

func parse(raw []byte) (config, error) {
	var c struct {
		IPAM config `json:"ipam"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c.IPAM, plugins.Errorf(plugins.CodeDecode, "decode ipam: %w", err)
	}
	if c.IPAM.Socket == "" {
		c.IPAM.Socket = DefaultSocket
	}
	for i, r := range c.IPAM.Routes {
		if !r.Dst.IsValid() {
			return c.IPAM, plugins.Errorf(plugins.CodeInvalidConfig, "ipam.routes[%d].dst: it is missing", i)
		}
	}
	if !c.IPAM.wants4() && !c.IPAM.IPv6 {
		return c.IPAM, plugins.Errorf(plugins.CodeInvalidConfig, "ipam: ipv4 and ipv6 are both false; there is nothing to ask for")
	}
	return c.IPAM, nil
}

func (c config) wants4() bool { return c.IPv4 == nil || *c.IPv4 }

func ask(verb string, c config, req *plugins.Request) Ask {
	return Ask{
		Verb: verb, Network: req.Name, ContainerID: req.ContainerID, IfName: req.IfName, NetNS: req.NetNS,
		Hostname: req.Args.Pod.Name, IPv4: c.wants4(), IPv6: c.IPv6,
	}
}

// Add has the agent get a lease for the device, which must exist.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	c, err := parse(req.Config)
	if err != nil {
		return nil, err
	}
	answer, err := call(ctx, c.Socket, ask("ADD", c, req))
	if errors.Is(err, ErrNoAgent) {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "dhcp: %w", err)
	}
	if err != nil {
		return nil, err
	}
	for _, r := range c.Routes {
		answer.Routes = append(answer.Routes, plugins.Route{Dst: r.Dst.Masked(), Gateway: r.GW})
	}
	return &plugins.Result{IPs: answer.IPs, Routes: answer.Routes, DNS: answer.DNS}, nil
}

// Check makes sure that the agent holds the lease.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	c, err := parse(req.Config)
	if err != nil {
		return err
	}
	_, err = call(ctx, c.Socket, ask("CHECK", c, req))
	return err
}

// Del has the lease released. Without an agent nobody renews it, and it ends
// of itself.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	c, err := parse(req.Config)
	if err != nil {
		return err
	}
	if _, err = call(ctx, c.Socket, ask("DEL", c, req)); errors.Is(err, ErrNoAgent) {
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
