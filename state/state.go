// Package state is the database of this boot: /run/berth/<boot_id>/state.db.
//
// Endpoints, leases and host ports describe kernel objects, and those die at
// a reboot; so the records carry the kernel's boot_id in their path and an
// older boot's directory is removed unread.
//
// Nothing is ever synced to disk. A kill -9 loses nothing, because written
// pages are the kernel's, and a power failure also ends what they describe.
//
// The database is opened for one transaction at a time. Every process on the
// host shares it, so do no other work inside a transaction.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/flock"
)

// DefaultRoot is where the directories of all boots are.
const DefaultRoot = "/run/berth"

// ErrCorrupt says that the database's file is damaged, which nothing that this
// package does can bring about.
var ErrCorrupt = errors.New("state is damaged")

// Tx is a transaction; each package keeps to buckets of its own.
type Tx = bolt.Tx

// Store is the database of one boot. The zero value is not usable.
type Store struct{ dir string }

// Default is the store of the running boot below DefaultRoot.
func Default() (*Store, error) { return At(DefaultRoot) }

// At is the store of the running boot below root. Nothing is created.
func At(root string) (*Store, error) {
	id, err := BootID()
	if err != nil {
		return nil, err
	}
	return ForBoot(root, id), nil
}

// ForBoot is the store of a given boot: for tests that reboot.
func ForBoot(root, bootID string) *Store {
	return &Store{dir: filepath.Join(root, bootID)}
}

// BootID is the kernel's random identity of this boot.
func BootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// Dir is the directory of this boot; other files that live as long as the
// kernel's objects go there too.
func (s *Store) Dir() string { return s.dir }

// Update runs fn in a read-write transaction: all of it happens, or nothing.
func (s *Store) Update(fn func(*Tx) error) error {
	if err := s.prepare(); err != nil {
		return err
	}
	unlock, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.create(); err != nil {
		return err
	}
	return s.transact(false, func(db *bolt.DB) error { return db.Update(fn) })
}

// View runs fn in a read-only transaction. Where there is no database yet fn
// is not called: nothing is recorded.
func (s *Store) View(fn func(*Tx) error) error {
	unlock, err := s.lock(unix.LOCK_SH)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	if there, err := s.exists(); !there {
		return err
	}
	return s.transact(true, func(db *bolt.DB) error { return db.View(fn) })
}

// lock takes the host-wide lock. bbolt has one of its own but waits for it by
// polling every 50 ms; the kernel's flock queue wakes waiters in turn.
func (s *Store) lock(how int) (unlock func(), err error) {
	flags := 0
	if how == unix.LOCK_EX {
		flags = unix.O_CREAT
	}
	return flock.Take(filepath.Join(s.dir, "lock"), flags, how)
}

// prepare makes this boot's directory and, when it was not there, removes
// those of older boots.
func (s *Store) prepare() error {
	err := os.Mkdir(s.dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.dir, 0o700); err == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("create state directory: %w", err)
	}
	return s.removeOlderBoots()
}

func (s *Store) removeOlderBoots() error {
	root := filepath.Dir(s.dir)
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("list state directories: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == filepath.Base(s.dir) || !isBootID(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(root, e.Name())); err != nil {
			return fmt.Errorf("remove state of an older boot: %w", err)
		}
	}
	return nil
}

// isBootID tells a UUID, so that only what this package made is removed.
func isBootID(name string) bool {
	if len(name) != 36 {
		return false
	}
	for i, c := range name {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
		if dash != (c == '-') || !dash && !hex {
			return false
		}
	}
	return true
}
