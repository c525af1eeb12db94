package network

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// withContainer runs fn while no other process connects or disconnects the
// container: interface names are chosen once and the default route follows
// one decision after another.
//
// The lock is one byte of one file, chosen by the container's id (open file
// description lock, fcntl(2)): it leaves no file for each container, and ends
// with its process.
func (c *Catalogue) withContainer(id string, fn func() error) error {
	if err := checkContainerID(id); err != nil {
		return err
	}
	f, err := c.lockFile()
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, byteOf(id))
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock container %s: %w", id, err)
	}
	return fn()
}

func byteOf(id string) *unix.Flock_t {
	h := fnv.New64a()
	h.Write([]byte(id))
	return &unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: int64(h.Sum64() >> 2), Len: 1}
}

func (c *Catalogue) lockFile() (*os.File, error) {
	dir := c.store.Dir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "containers.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open containers' lock: %w", err)
	}
	return f, nil
}
