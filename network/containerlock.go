package network

import (
	"context"
	"fmt"
)

// withContainer runs fn while no other process connects or disconnects the
// container: interface names are chosen once, and the default route follows
// one decision after another.
func (c *Catalogue) withContainer(ctx context.Context, id string, fn func() error) error {
	if err := checkContainerID(id); err != nil {
		return err
	}
	guard, err := c.store.Guard(ctx, guardName(id))
	if err != nil {
		return fmt.Errorf("lock container %s: %w", id, err)
	}
	defer guard.Release()
	return fn()
}

func guardName(container string) string { return "container " + container }
