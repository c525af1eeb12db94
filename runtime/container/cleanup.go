package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netns"
)

// cleanUp removes what the kernel may still have of a container without a
// supervisor: processes, cgroups, attachments, the network namespace. It goes
// on past errors, and what is gone already is success.
func (c *Container) cleanUp(ctx context.Context, networks Networker) error {
	errs := []error{c.destroyLeft()}
	if networks != nil {
		errs = append(errs, networks.DetachAll(ctx, c.ID))
	}
	errs = append(errs, netns.Unpin(c.store.netns(c.ID)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up container %s: %w", c.Name, err)
	}
	return nil
}

// destroyLeft goes by the cgroups, whose place follows from the id, since of
// a container that was half made libcontainer has no record.
func (c *Container) destroyLeft() error {
	cg, err := manager.New(&cgroups.Cgroup{Path: cgroupPath(c.ID), Resources: &cgroups.Resources{}})
	if err != nil {
		return err
	}
	err = killAll(cg)
	return errors.Join(err, cg.Destroy(), os.RemoveAll(filepath.Join(c.store.sandboxes(), c.ID)))
}

// killAll kills the processes of a cgroup and waits until they have ended.
func killAll(cg cgroups.Manager) error {
	fds, err := openAll(cg)
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process: %w", err)
		}
	}
	return awaitAll(fds)
}

// openAll opens the processes of a cgroup. A number may have passed to
// another process between the listing and the opening, so only those that a
// second listing has again are taken.
func openAll(cg cgroups.Manager) (fds []int, err error) {
	before, err := cg.GetAllPids()
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	opened := map[int]int{}
	for _, pid := range before {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			opened[pid] = fd
		}
	}
	after, err := cg.GetAllPids()
	for pid, fd := range opened {
		if slices.Contains(after, pid) {
			fds = append(fds, fd)
		} else {
			unix.Close(fd)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return fds, err
}

// awaitAll waits until the processes have ended: a pidfd becomes readable
// then (pidfd_open(2)).
func awaitAll(fds []int) error {
	deadline := time.Now().Add(patience)
	for _, fd := range fds {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := 0, error(unix.EINTR)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll(poll, int(max(0, time.Until(deadline).Milliseconds())))
		}
		if err != nil {
			return fmt.Errorf("wait for killed process: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("wait for killed process: %w", os.ErrDeadlineExceeded)
		}
	}
	return nil
}
