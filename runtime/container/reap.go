package container

import (
	"context"
	"errors"
	"time"
)

// Reap cleans up after every container whose supervisor has died: its
// processes, cgroups, attachments and network namespace. The container itself
// stays, as one that has ended, with its log. It goes on past errors.
func (s *Store) Reap(ctx context.Context, networks Networker) error {
	all, err := s.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		if err := c.reapDead(ctx, networks); !errors.Is(err, ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Container) reapDead(ctx context.Context, networks Networker) error {
	st, err := c.State()
	if err != nil || st.Status != Dead {
		return err
	}
	lock, err := acquire(c.store.lockPath(c.ID))
	if err != nil {
		return err
	}
	defer lock.Release()
	// Somebody else may have been faster.
	if st, err = c.recordedState(); err != nil || st.Status == Exited {
		return err
	}
	if err := c.cleanUp(ctx, networks); err != nil {
		return err
	}
	st.Status, st.PID, st.ExitCode, st.Error, st.Finished = Exited, 0, CodeSignal+9, "its supervisor was killed", time.Now().UTC()
	return c.setState(st)
}
