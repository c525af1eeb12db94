package state

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrBusy says that somebody else holds a guard.
var ErrBusy = errors.New("another process is at work on it")

// Guard is held while the thing that its name stands for is being changed.
// The kernel lets go of it when its holder dies, kill -9 included, and it
// keeps other pid namespaces out too, where a recorded pid would mean nothing.
type Guard struct{ fd int }

// TryGuard takes the guard of a name, or fails with ErrBusy at once.
func (s *Store) TryGuard(name string) (*Guard, error) {
	g, err := s.openGuard()
	if err != nil {
		return nil, err
	}
	err = g.lock(name, unix.F_OFD_SETLK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		err = ErrBusy
	}
	if err != nil {
		g.Release()
		return nil, fmt.Errorf("lock %q: %w", name, err)
	}
	return g, nil
}

// Guard waits for the guard of a name until ctx ends.
func (s *Store) Guard(ctx context.Context, name string) (*Guard, error) {
	g, err := s.TryGuard(name)
	if !errors.Is(err, ErrBusy) {
		return g, err
	}
	if g, err = s.openGuard(); err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() { locked <- g.lock(name, unix.F_OFD_SETLKW) }()
	select {
	case err = <-locked:
		if err != nil {
			g.Release()
			return nil, fmt.Errorf("lock %q: %w", name, err)
		}
		return g, nil
	case <-ctx.Done():
		go func() { <-locked; g.Release() }()
		return nil, fmt.Errorf("lock %q: %w: %w", name, ErrBusy, ctx.Err())
	}
}

// Release lets go: not only by closing the file, which a child of another
// goroutine's fork has open too until it executes its program.
func (g *Guard) Release() {
	unix.FcntlFlock(uintptr(g.fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
	unix.Close(g.fd)
}

func (s *Store) openGuard() (*Guard, error) {
	if err := s.prepare(); err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, "lock") // flock(2) and fcntl(2) do not meet
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Guard{fd}, nil
}

// lock takes the byte at the name's hash of one file, which stays empty: no
// file per name is left to be removed, which could not be done safely. Locks
// are of the open file description (fcntl(2)), so they exclude goroutines too.
func (g *Guard) lock(name string, how int) error {
	sum := sha256.Sum256([]byte(name))
	at := int64(binary.BigEndian.Uint64(sum[:8]) >> 2)
	for {
		err := unix.FcntlFlock(uintptr(g.fd), how, &unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1})
		if err != unix.EINTR {
			return err
		}
	}
}
