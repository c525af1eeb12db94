package container

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Lock is an exclusive flock. It belongs to the open file, not the process:
// whoever is given the file holds it too, and the kernel lets go when the
// last of them has died.
type Lock struct{ file *os.File }

// acquire waits for the lock, making its file.
func acquire(path string) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	if err := flock(file, unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Lock{file}, nil
}

// Release lets go. The lock may be nil.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// supervised tells whether somebody holds the container's lock.
func (c *Container) supervised() bool {
	file, err := os.Open(c.store.lockPath(c.ID))
	if err != nil {
		return false
	}
	defer file.Close()
	return errors.Is(flock(file, unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// await returns when nobody holds the container's lock any more.
func (c *Container) await() error {
	file, err := os.Open(c.store.lockPath(c.ID))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return flock(file, unix.LOCK_SH)
}

func flock(file *os.File, how int) error {
	for {
		err := unix.Flock(int(file.Fd()), how)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "lock", Path: file.Name(), Err: err}
		}
	}
}
