// Package netns opens, creates, pins and enters network namespaces.
//
// A Handle is an open file of nsfs: the namespace lives at least as long as
// the Handle. The package keeps no state; everything acts on the calling
// thread or on a Handle.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrNotNetns is wrapped by Open when a path exists but is not a network
// namespace.
var ErrNotNetns = errors.New("not a network namespace")

// nsGetNSType is NS_GET_NSTYPE of include/uapi/linux/nsfs.h, _IO(0xb7, 3).
const nsGetNSType = 0xb703

// Handle is an open network namespace.
type Handle struct{ file *os.File }

// Open opens the namespace at path, for example /proc/PID/ns/net or a file
// below /run/netns. A missing path satisfies errors.Is(err, fs.ErrNotExist);
// a path that is something else wraps ErrNotNetns.
//
// The type is proven by ioctl before anything is done in it: a caller's path
// may be a symbolic link, a device or a pin whose mount has gone
// (CVE-2024-21626 began with a descriptor nobody had looked at).
func Open(path string) (*Handle, error) {
	// O_NONBLOCK: opening a FIFO must not hang.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open netns", Path: path, Err: err}
	}
	kind, err := unix.IoctlRetInt(fd, nsGetNSType)
	if err != nil || kind != unix.CLONE_NEWNET {
		unix.Close(fd)
		return nil, fmt.Errorf("open netns %s: %w", path, ErrNotNetns)
	}
	return &Handle{os.NewFile(uintptr(fd), path)}, nil
}

// Current opens the namespace of the calling thread.
func Current() (*Handle, error) { return Open("/proc/thread-self/ns/net") }

// New creates a namespace and leaves the caller where it was. Only the Handle
// keeps it alive.
func New() (*Handle, error) {
	var h *Handle
	err := elsewhere(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("create netns: %w", err)
		}
		h, err = Current()
		return err
	})
	return h, err
}

// FD is the file descriptor, for netlink attributes that name a namespace.
func (h *Handle) FD() int { return int(h.file.Fd()) }

// Path is the path the handle was opened by.
func (h *Handle) Path() string { return h.file.Name() }

// Close lets go of the namespace.
func (h *Handle) Close() error { return h.file.Close() }

// Do runs fn on the calling goroutine with its thread inside the namespace,
// and returns to the namespace it came from. fn must not start goroutines
// that count on the namespace.
//
// When the way back fails the thread stays locked, so that the runtime ends
// it with the goroutine and nobody else runs in the wrong namespace.
func (h *Handle) Do(fn func() error) error {
	return elsewhere(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return fn()
	})
}

// elsewhere runs fn, which may change its thread's network namespace, and
// brings the thread back.
func elsewhere(fn func() error) error {
	runtime.LockOSThread()
	origin, err := Current()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer origin.Close()
	err = fn()
	if back := origin.enter(); back != nil {
		return errors.Join(err, fmt.Errorf("return to the own netns: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

func (h *Handle) enter() error {
	if err := unix.Setns(h.FD(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter netns %s: %w", h.Path(), err)
	}
	return nil
}
