package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/flock"
)

// A temporary file begins with a dot and does not end like a configuration,
// so no CNI runtime reads one that a crash left.
const (
	filePrefix = "berth-"
	fileSuffix = ".conflist"
	tempPrefix = ".berth-"
	tempSuffix = ".tmp"
)

func fileName(network string) string { return filePrefix + network + fileSuffix }

// locked runs fn while no other process of the host that asks for the same
// lock changes the directory: one name and one subnet are given once. The
// lock is the directory's own, so it leaves no file, ends with the process,
// and nerdctl, which takes it too, keeps out.
func (c *Catalogue) locked(fn func() error) error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return fmt.Errorf("create networks' directory: %w", err)
	}
	unlock, err := flock.Take(c.dir, unix.O_DIRECTORY, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.removeLeftovers(); err != nil {
		return err
	}
	return fn()
}

// removeLeftovers removes the temporary files of processes that were killed;
// the lock is held, so none is in use.
func (c *Catalogue) removeLeftovers() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("list networks' directory: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !strings.HasSuffix(e.Name(), tempSuffix) {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove leftover: %w", err)
		}
	}
	return nil
}

// writeNew writes a file that a reader sees whole or not at all, and never
// over another one. The lock is held. A network outlives a boot, so it is
// synced.
func (c *Catalogue) writeNew(name string, content []byte) (err error) {
	temp := filepath.Join(c.dir, tempPrefix+name+tempSuffix)
	path := filepath.Join(c.dir, name)
	if err := writeSynced(temp, content); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS { // some network file systems
		if _, statErr := os.Lstat(path); errors.Is(statErr, fs.ErrNotExist) {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		err = &os.PathError{Op: "write network", Path: path, Err: err}
		return errors.Join(err, os.Remove(temp))
	}
	return c.syncDir()
}

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write network: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write network: %w", err)
	}
	return nil
}

func (c *Catalogue) syncDir() error {
	dir, err := os.Open(c.dir)
	if err != nil {
		return fmt.Errorf("sync networks' directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync networks' directory: %w", err)
	}
	return nil
}
