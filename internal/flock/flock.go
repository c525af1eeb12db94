// Package flock locks files against other processes (flock(2)).
package flock

import (
	"os"

	"golang.org/x/sys/unix"
)

// Take opens a file or directory with flags beside O_RDONLY, and locks it: how
// is LOCK_SH or LOCK_EX, with LOCK_NB to fail with EWOULDBLOCK rather than
// wait. The kernel wakes those who wait in turn. A file that is created is its
// owner's alone.
func Take(path string, flags, how int) (unlock func(), err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	for {
		if err = unix.Flock(fd, how); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return func() {
		// Closing is not enough: a child that is just being started has the
		// descriptor, too, until it becomes its program.
		_ = unix.Flock(fd, unix.LOCK_UN)
		unix.Close(fd)
	}, nil
}
