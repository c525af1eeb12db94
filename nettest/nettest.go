// Package nettest builds hosts, links, switches and containers out of network
// namespaces, for integration tests of network code.
//
// A Host has a network and a mount namespace of its own: its own interfaces,
// routes and rules, and its own /run, /etc, /var/lib and /sys. Nothing is
// pinned in the machine's file system: the namespaces are held by file
// descriptors and end with the test, killed or not.
//
// It works as root, and without root under "unshare -rn" where the kernel
// allows user namespaces.
package nettest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netns"
)

// Host is a machine of a test.
type Host struct {
	Name string
	t    testing.TB
	net  *netns.Handle
	mnt  *os.File

	mu     sync.Mutex // between enter and close: a connection that net/http makes may outlive the test
	closed bool
}

// NewHost makes a host with its loopback up and no other interface. It is
// gone when the test ends. Where the process may not make namespaces the
// test is skipped, and in CI (environment CI=true) fails.
func NewHost(t testing.TB, name string) *Host {
	t.Helper()
	RequireNamespaces(t)
	h := &Host{Name: name, t: t}
	if err := h.create(); err != nil {
		t.Fatalf("make host %s: %v", name, err)
	}
	t.Cleanup(h.close)
	h.Run("ip", "link", "set", "lo", "up")
	return h
}

// RequireNamespaces skips the test where the process may not make network and
// mount namespaces; in CI it fails it.
func RequireNamespaces(t testing.TB) {
	t.Helper()
	err := onOwnThread(func() error { return unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS) })
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("unshare namespaces: %v", err)
	default:
		t.Skipf("unshare namespaces: %v; run as root or under: unshare -rn", err)
	}
}

func (h *Host) create() error {
	return onOwnThread(func() (err error) {
		// A thread shares its root and working directory with the process
		// (CLONE_FS) and may not change its mount namespace before it has
		// given that up.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := mountHost(); err != nil {
			return err
		}
		if h.net, err = netns.Current(); err != nil {
			return err
		}
		h.mnt, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
}

func (h *Host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if err := errors.Join(h.net.Close(), h.mnt.Close()); err != nil {
		h.t.Errorf("close host %s: %v", h.Name, err)
	}
}

// NetNS is the host's network namespace, open as long as the test runs.
func (h *Host) NetNS() *netns.Handle { return h.net }

// Namespaces are paths by which any process of the machine, with the rights
// to, enters the host while the test runs.
func (h *Host) Namespaces() (network, mount string) {
	return h.netnsRef(), fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.mnt.Fd())
}

// Do runs fn on a thread inside the host's network and mount namespaces.
// Goroutines that fn starts are outside; processes that it starts are inside.
func (h *Host) Do(fn func() error) error {
	return onOwnThread(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return fn()
	})
}

func (h *Host) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("enter host %s: its test has ended", h.Name)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter host %s: unshare fs: %w", h.Name, err)
	}
	if err := unix.Setns(int(h.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter host %s: mount namespace: %w", h.Name, err)
	}
	if err := unix.Setns(h.net.FD(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter host %s: network namespace: %w", h.Name, err)
	}
	return nil
}

// Command prepares a command; start it with h.Start, or inside h.Do.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.CommandContext(h.context(), name, args...)
}

// context ends with the test; in the test's clean-up, when that has ended, it
// is one without an end, so that a host can still be asked there.
func (h *Host) context() context.Context {
	ctx := h.t.Context()
	if ctx.Err() != nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// Start starts cmd inside the host.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }

// Try runs a command inside the host and returns what it printed on both
// streams.
func (h *Host) Try(name string, args ...string) (string, error) {
	var out []byte
	err := h.Do(func() (err error) {
		out, err = h.Command(name, args...).CombinedOutput()
		return err
	})
	return string(out), err
}

// Run is Try, but a command that fails ends the test.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.Try(name, args...)
	if err != nil {
		h.t.Fatalf("%s: %s %q: %v\n%s", h.Name, name, args, err, out)
	}
	return out
}

// onOwnThread runs fn on a thread that ends with it.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies here
		done <- fn()
	}()
	return <-done
}
