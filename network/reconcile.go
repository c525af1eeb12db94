package network

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/table"
	"github.com/berth-net/berth/state"
)

// Repairs is what Reconcile put right.
type Repairs struct {
	Endpoints []endpoint.Key // recorded, and interrupted or without a living namespace
	Links     []string       // devices of attachments that have no record
	Leases    []ipam.Holding // held for namespaces that are gone
}

// Reconcile removes what crashes and reboots of containers have left: it ends
// by their drivers the attachments whose Add or Del was interrupted or whose
// namespace is gone, and removes the devices and leases that carry berth's
// mark and that nothing is recorded for. What is being attached or detached
// meanwhile is left alone. It goes on past errors and joins them.
func (c *Catalogue) Reconcile(ctx context.Context) (*Repairs, error) {
	r := new(Repairs)
	// The devices are listed before the records are read: what an Add makes in
	// between is then in neither list, or in both.
	links, err := markedLinks()
	errs := []error{
		err,
		c.reapAttachments(ctx, r),
		c.reapEndpoints(ctx, r),
		c.removeLinks(links, r),
		c.store.Update(func(tx *state.Tx) (err error) {
			r.Leases, err = ipam.ReleaseDead(tx, "")
			return err
		}),
	}
	return r, errors.Join(errs...)
}

func (c *Catalogue) reapEndpoints(ctx context.Context, repairs *Repairs) error {
	records, err := attach.Records(c.store, "")
	errs := []error{err}
	for _, r := range records {
		if r.Phase == endpoint.Ready && r.Alive() {
			continue
		}
		driver := table.Lookup(r.Driver, c.store)
		if driver == nil {
			// A chain of others' plugins: reapAttachments has ended it, or said why not.
			if a, err := c.attachment(r.Key); a != nil || err != nil {
				continue
			}
			errs = append(errs, fmt.Errorf("reconcile %s: its driver %q is not one of berth's", r.Key, r.Driver))
			continue
		}
		done, err := attach.Reap(ctx, c.store, r, plugins.Network{Path: c.path}, driver.Del)
		if err != nil {
			errs = append(errs, fmt.Errorf("reconcile %s: %w", r.Key, err))
		} else if done {
			repairs.Endpoints = append(repairs.Endpoints, r.Key)
		}
	}
	return errors.Join(errs...)
}

// markedLinks are the devices on the host that an attachment's alias marks.
func markedLinks() ([]netdev.Link, error) {
	h, err := netdev.Here()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	all, err := h.Links()
	var marked []netdev.Link
	for _, l := range all {
		if endpoint.IsAlias(l.Attrs().Alias) {
			marked = append(marked, l)
		}
	}
	return marked, err
}

func (c *Catalogue) removeLinks(links []netdev.Link, repairs *Repairs) error {
	records, err := attach.Records(c.store, "")
	if err != nil {
		return err
	}
	recorded := map[string]bool{}
	for _, r := range records {
		recorded[r.HostIfName] = true
	}
	h, err := netdev.Here()
	if err != nil {
		return err
	}
	defer h.Close()
	var errs []error
	for _, l := range links {
		if recorded[l.Attrs().Name] {
			continue
		}
		// By index: an Add may have made another of that name by now.
		if err := h.DeleteLinkByIndex(l.Attrs().Index); err != nil {
			errs = append(errs, err)
			continue
		}
		repairs.Links = append(repairs.Links, l.Attrs().Name)
	}
	return errors.Join(errs...)
}
