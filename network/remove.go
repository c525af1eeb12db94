package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/flock"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/table"
)

// Remove ends a network that Create made, with what its driver keeps on the
// host. It refuses with ErrInUse, and names the containers, while one is
// attached; endpoints of containers that are gone go with the network.
func (c *Catalogue) Remove(ctx context.Context, name string) error {
	n, err := c.Get(name)
	if err != nil {
		return err
	}
	switch n.Origin {
	case Builtin:
		return fmt.Errorf("remove network %s: %w", n.Name, ErrBuiltin)
	case Foreign:
		return fmt.Errorf("remove network %s: %w: %s is its writer's to remove", n.Name, ErrForeign, n.File)
	}
	err = c.locked(func() error { return c.remove(ctx, n) })
	if err != nil {
		return fmt.Errorf("remove network %s: %w", n.Name, err)
	}
	return nil
}

func (c *Catalogue) remove(ctx context.Context, n *Network) error {
	unlock, err := flock.Take(n.File, 0, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNoNetwork // somebody was faster
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("%w: a container is being connected to it", ErrInUse)
	case err != nil:
		return err
	}
	defer unlock()
	if err := c.endDead(ctx, n.Name); err != nil {
		return err
	}
	if err := c.removeDevices(ctx, n); err != nil {
		return err
	}
	if err := os.Remove(n.File); err != nil {
		return err
	}
	return c.syncDir()
}

// endDead ends the endpoints whose containers are gone, and fails with
// ErrInUse when one is not.
func (c *Catalogue) endDead(ctx context.Context, network string) error {
	records, err := c.Endpoints(network)
	if err != nil {
		return err
	}
	var living []string
	for _, r := range records {
		if r.Alive() {
			living = append(living, who(r))
		}
	}
	if len(living) > 0 {
		return fmt.Errorf("%w by %s; disconnect first", ErrInUse, strings.Join(slices.Compact(living), ", "))
	}
	for _, r := range records {
		if err := c.end(ctx, r, true); err != nil {
			return err
		}
	}
	return nil
}

func who(r *endpoint.Record) string {
	if r.Name != "" {
		return r.Name
	}
	return r.ContainerID
}

func (c *Catalogue) removeDevices(ctx context.Context, n *Network) error {
	links, err := n.chain.links()
	if err != nil {
		return err
	}
	for _, l := range links {
		remover, ok := table.Lookup(l.Type, c.store).(plugins.Remover)
		if !ok {
			continue
		}
		config, err := (&attachment{Key: endpoint.Key{Network: n.Name}, Chain: n.chain}).config(l, nil)
		if err != nil {
			return err
		}
		net := &plugins.Network{Name: n.Name, Type: l.Type, CNIVersion: n.chain.version(), Config: config, Path: c.path}
		if err := remover.Remove(ctx, net); err != nil {
			return err
		}
	}
	return nil
}

// Prune removes the networks that match the filters, that Create made, and
// that no container uses: neither one that is attached nor one that is
// stopped and joins the network when it is started. It returns the names of
// those it removed, also beside an error. Each is removed by remove, which
// refuses with ErrInUse what is attached; nil is Remove.
func (c *Catalogue) Prune(ctx context.Context, filters Filters, remove func(name string) error) ([]string, error) {
	if remove == nil {
		remove = func(name string) error { return c.Remove(ctx, name) }
	}
	networks, _ := c.List() // what cannot be read is not ours
	used, err := c.configured(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	var removed []string
	for _, n := range networks {
		if n.Origin != Berth || slices.Contains(used, n.Name) || !filters.Match(n) {
			continue
		}
		err := remove(n.Name)
		switch {
		case err == nil:
			removed = append(removed, n.Name)
		case errors.Is(err, ErrInUse), errors.Is(err, ErrNoNetwork):
		default:
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// configured are the networks that a container of berth names.
func (c *Catalogue) configured(ctx context.Context) ([]string, error) {
	if c.containers == nil {
		return nil, nil
	}
	all, err := c.containers.Containers(ctx)
	if err != nil {
		return nil, err // not knowing is no reason to remove
	}
	var names []string
	for _, container := range all {
		names = append(names, container.Networks...)
	}
	return names, nil
}
