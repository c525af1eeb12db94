package network

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/table"
	"github.com/berth-net/berth/state"
)

// Connect attaches a running container, of any runtime, which ref names as
// for Resolve. ContainerID, Name and NetNS of ep are filled in.
func (c *Catalogue) Connect(ctx context.Context, network, ref string, ep Endpoint) (*Attached, error) {
	n, err := c.Get(network)
	if err != nil {
		return nil, err
	}
	target, err := c.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	if target.NetNS == "" {
		return nil, fmt.Errorf("connect %s to network %s: %w: the container does not run", ref, n.Name, ErrInvalid)
	}
	if err := connectable(n, target.NetNS, ref); err != nil {
		return nil, err
	}
	ep.ContainerID, ep.Name, ep.NetNS = target.ID, target.Name, target.NetNS
	if target.Hostname != "" && !slices.Contains(ep.Aliases, target.Hostname) {
		ep.Aliases = append(slices.Clone(ep.Aliases), target.Hostname)
	}
	made, err := c.Attach(ctx, n.Name, ep)
	if err != nil {
		return nil, err
	}
	return made, c.leaveNone(ctx, target.ID)
}

// connectable explains what no live container can be connected to.
func connectable(n *Network, path, ref string) error {
	switch n.Driver {
	case "none":
		return fmt.Errorf("connect %s to network %s: %w: it means no network; disconnect the container from the others instead", ref, n.Name, ErrInvalid)
	case "host":
		return fmt.Errorf("connect %s to network %s: %w: a container that runs keeps the network namespace it was started in; start it with --network %s",
			ref, n.Name, ErrInvalid, n.Name)
	}
	own, err := netns.Current()
	if err != nil {
		return err
	}
	defer own.Close()
	id, err := own.ID()
	if err != nil {
		return err
	}
	r := endpoint.Record{NetNS: path, NetNSID: id}
	if r.Alive() {
		return fmt.Errorf("connect %s to network %s: %w: it shares the host's network namespace", ref, n.Name, ErrInvalid)
	}
	return nil
}

// leaveNone ends a container's attachment to a network of driver none, which
// would otherwise claim that there is no interface.
func (c *Catalogue) leaveNone(ctx context.Context, container string) error {
	all, err := c.attachmentsOf(container)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Chain.driver() == "none" {
			if err := c.Detach(ctx, a.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// Disconnect ends what a container has on a network. What a CNI runtime
// attached is its own to end, and is left alone unless force says otherwise.
// With force a record goes even when the kernel's objects could not be
// removed, which the error still tells. ErrNotAttached: there is nothing.
func (c *Catalogue) Disconnect(ctx context.Context, network, ref string, force bool) error {
	name := network
	n, unknown := c.Get(network)
	if unknown == nil {
		name = n.Name
	}
	records, err := c.Endpoints(name)
	if err != nil {
		return err
	}
	if unknown != nil && len(records) == 0 { // what is attached may outlive the network's file
		return unknown
	}
	target, err := c.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r *endpoint.Record) bool { return r.ContainerID != target.ID })
	if len(records) == 0 {
		return fmt.Errorf("disconnect %s from network %s: %w", ref, name, ErrNotAttached)
	}
	var errs []error
	for _, r := range records {
		errs = append(errs, c.end(ctx, r, force))
	}
	return errors.Join(errs...)
}

func (c *Catalogue) end(ctx context.Context, r *endpoint.Record, force bool) error {
	a, err := c.attachment(r.Key)
	if err != nil {
		return err
	}
	if a == nil && !force {
		return fmt.Errorf("disconnect %s: %w: a CNI runtime attached it and has to end it; --force does it in its place", r.Key, ErrInvalid)
	}
	if a != nil {
		err = c.Detach(ctx, r.Key)
	} else {
		err = c.withContainer(ctx, r.ContainerID, func() error { return c.endRecord(ctx, r) })
	}
	if err == nil || !force {
		return err
	}
	return errors.Join(err, c.discard(r.Key))
}

// endRecord runs the driver's DEL for an endpoint that the catalogue did not
// attach.
func (c *Catalogue) endRecord(ctx context.Context, r *endpoint.Record) error {
	driver := table.Lookup(r.Driver, c.store)
	if driver == nil {
		return c.discard(r.Key)
	}
	req := attach.DelRequest(r, plugins.Network{Path: c.path})
	if err := driver.Del(ctx, req); err != nil {
		return fmt.Errorf("disconnect %s: %w", r.Key, err)
	}
	return nil
}

// discard erases what is on record of an endpoint.
func (c *Catalogue) discard(k endpoint.Key) error {
	return c.store.Update(func(tx *state.Tx) error {
		return errors.Join(firewall.ReleasePorts(tx, k), ipam.Release(tx, k), endpoint.Delete(tx, k), deleteAttachment(tx, k))
	})
}
