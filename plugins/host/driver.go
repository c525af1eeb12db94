// Package host lets a container share the host's network namespace.
//
// There is nothing to make: the driver tells the host's addresses, and keeps
// the ports that the containers say they use apart.
package host

import (
	"context"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct{ store *state.Store }

// New is the driver with its records in store.
func New(store *state.Store) *Driver { return &Driver{store: store} }

// Add claims the container's ports and tells the host's addresses. The
// container must be in the host's namespace already.
func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	if err := attach.NoDevice(req); err != nil {
		return nil, err
	}
	if err := checkPorts(req); err != nil {
		return nil, err
	}
	if err := firewall.CheckListeners(req.Runtime.PortMappings); err != nil {
		return nil, err
	}
	a, err := attach.Begin(ctx, d.store, req, attach.Spec{Ports: req.Runtime.PortMappings, HostNetNS: true})
	if err != nil {
		return nil, err
	}
	result, err := addresses(req.NetNS)
	if err != nil {
		return nil, a.Abort(err)
	}
	return result, a.Done(result)
}

// checkPorts lets a mapping stand only where it changes nothing, as Kubernetes
// demands of pods with hostNetwork: there is no address of the container's
// own that a port could be translated to. Such a mapping is a claim.
func checkPorts(req *plugins.Request) error {
	for i, m := range req.Runtime.PortMappings {
		if m.HostPort != m.ContainerPort {
			return plugins.Errorf(plugins.CodeInvalidConfig,
				"portMappings[%d]: host port %d cannot lead to container port %d: a container on network %s is on the host, "+
					"so its port %d is the host's; map the port to itself, or leave it out",
				i, m.HostPort, m.ContainerPort, req.Name, m.ContainerPort)
		}
	}
	return nil
}

// Check makes sure that the container is still on the host, and that the host
// still has the addresses that were told.
func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	record, err := attach.Recorded(d.store, req)
	if err != nil {
		return err
	}
	if err := attach.CheckHostNetNS(req); err != nil {
		return err
	}
	return sameAddresses(record.Result, req.NetNS)
}

// Del gives up the ports and erases the record.
func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	return attach.EndNoDevice(ctx, d.store, req)
}

// GC does so for attachments that are no longer valid.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	return attach.GC(ctx, d.store, req, d.Del)
}

// Status is always well: an Add needs nothing of the host.
func (d *Driver) Status(ctx context.Context, net *plugins.Network) error { return nil }
