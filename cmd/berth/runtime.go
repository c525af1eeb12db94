package main

import (
	"context"
	"errors"

	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/runtime/container"
)

// openContainers opens the host's containers and what attaches them to
// networks.
func openContainers() (*container.Store, container.Networker, error) {
	store, err := container.Open()
	if err != nil {
		return nil, nil, err
	}
	catalogue, err := openCatalogue()
	if err != nil {
		return nil, nil, err
	}
	return store, container.Networks{Catalogue: catalogue}, nil
}

// reapContainers cleans up after the supervisors that have died.
func reapContainers(ctx context.Context, c *network.Catalogue) error {
	store, err := container.Open()
	if err != nil {
		return err
	}
	return store.Reap(ctx, container.Networks{Catalogue: c})
}

// eachContainer does something with each container that is named, and goes on
// past errors.
func eachContainer(ctx context.Context, refs []string, do func(*container.Container) error) error {
	store, err := container.Open()
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range refs {
		c, err := store.Get(ref)
		if err == nil {
			err = do(c)
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}
