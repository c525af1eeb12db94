package container

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Stop asks the container to end with its stop signal and kills it when it
// has not after the grace period. It returns when everything of the container
// is cleaned up; one that does not run is success.
func (c *Container) Stop(ctx context.Context, grace time.Duration) error {
	sig, err := ParseSignal(c.StopSignal)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.await() }()
	if err := c.Signal(sig); errors.Is(err, ErrNotRunning) || errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(grace):
		return c.end(ctx)
	}
}

// Kill sends a signal. When it is SIGKILL, it returns when everything of the
// container is cleaned up.
func (c *Container) Kill(ctx context.Context, sig unix.Signal) error {
	if sig != unix.SIGKILL {
		return c.Signal(sig)
	}
	if st, err := c.State(); err != nil || st.Status != Running {
		return errors.Join(err, c.Signal(sig))
	}
	return c.end(ctx)
}
