package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a supervisor may take to clean up after its container
// before it is taken for stuck.
const patience = 10 * time.Second

// RemoveOptions say how Remove goes about.
type RemoveOptions struct {
	Force    bool      // kill a container that runs; one that is gone is success
	Networks Networker // ends the attachments that a dead supervisor left
}

// Remove removes a container and whatever a dead supervisor left of it. One
// that runs is ErrRunning, unless it is forced.
func (c *Container) Remove(ctx context.Context, o RemoveOptions) error {
	if c.supervised() {
		if !o.Force {
			return fmt.Errorf("remove container %s: %w; stop it first or force it", c.Name, ErrRunning)
		}
		if err := c.end(ctx); err != nil {
			return err
		}
	}
	lock, err := acquire(c.store.lockPath(c.ID))
	if errors.Is(err, os.ErrNotExist) {
		return nil // the supervisor removed it
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	// What could not be cleaned up keeps its record, so that it can be
	// tried again.
	if err := c.cleanUp(ctx, o.Networks); err != nil {
		return err
	}
	return c.discard()
}

// end kills the container, and its supervisor when that does not follow.
func (c *Container) end(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- c.await() }()
	for _, kill := range []func() error{func() error { return c.Signal(unix.SIGKILL) }, c.killSupervisor} {
		if err := kill(); err != nil && !errors.Is(err, ErrNotRunning) {
			return err
		}
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(patience):
		}
	}
	return fmt.Errorf("end container %s: its supervisor does not die", c.Name)
}

func (c *Container) killSupervisor() error {
	st, err := c.recordedState()
	if err != nil || !c.supervised() || st.BootID != c.store.boot || st.Supervisor == 0 {
		return err
	}
	return c.signalPID(st.Supervisor, unix.SIGKILL)
}

// Signal sends a signal to the container's init process. ErrNotRunning says
// that there is none.
func (c *Container) Signal(sig unix.Signal) error {
	st, err := c.State()
	if err != nil {
		return err
	}
	if st.Status != Running {
		return fmt.Errorf("signal container %s: %w", c.Name, ErrNotRunning)
	}
	return c.signalPID(st.PID, sig)
}

// signalPID signals a process that the record names. The record is looked at
// again between opening the process and signalling it, since a number may
// pass to another process at any time.
func (c *Container) signalPID(pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal container %s: %w", c.Name, err)
	}
	defer unix.Close(fd)
	st, err := c.State()
	if err != nil {
		return err
	}
	if pid != st.PID && pid != st.Supervisor || st.Status == Exited || st.Status == Dead {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal container %s: %w", c.Name, err)
	}
	return nil
}
