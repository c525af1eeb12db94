package network

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/state"
)

// reapAttachments ends, by the plugins of their chains, the attachments that
// were interrupted or whose container is gone. One that is being worked on is
// left alone. It goes on past errors.
func (c *Catalogue) reapAttachments(ctx context.Context, repairs *Repairs) error {
	all, err := c.attachmentsOf("")
	errs := []error{err}
	for _, a := range all {
		if a.Phase == endpoint.Ready && a.alive() {
			continue
		}
		done, err := c.reap(ctx, a)
		if err != nil {
			errs = append(errs, fmt.Errorf("reconcile %s: %w", a.Key, err))
		} else if done {
			repairs.Endpoints = append(repairs.Endpoints, a.Key)
		}
	}
	return errors.Join(errs...)
}

func (c *Catalogue) reap(ctx context.Context, a *attachment) (bool, error) {
	guard, err := c.store.TryGuard(guardName(a.ContainerID))
	if errors.Is(err, state.ErrBusy) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer guard.Release()
	now, err := c.attachment(a.Key)
	if err != nil || now == nil || !now.Created.Equal(a.Created) {
		return false, err // somebody has been faster
	}
	return true, c.detachNow(ctx, now)
}
