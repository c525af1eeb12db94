package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

func (s *Store) path() string { return filepath.Join(s.dir, "state.db") }

// exists tells whether there is a database. One of no length is none: what
// an operator may leave who empties the file.
func (s *Store) exists() (bool, error) {
	info, err := os.Stat(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open state: %w", err)
	}
	// The two header pages are there from the start.
	if size := info.Size(); size > 0 && size < int64(2*os.Getpagesize()) {
		return false, s.corrupt(fmt.Sprintf("it has only %d bytes", size))
	}
	return info.Size() > 0, nil
}

// create makes an empty database under another name and renames it: bbolt
// writes its first pages in one write, of which a kill may leave a part.
func (s *Store) create() error {
	if there, err := s.exists(); there || err != nil {
		return err
	}
	draft := s.path() + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create state: %w", err)
	}
	db, err := bolt.Open(draft, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		return fmt.Errorf("create state %s: %w", draft, err)
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("create state %s: %w", draft, err)
	}
	if err := os.Rename(draft, s.path()); err != nil {
		return fmt.Errorf("create state: %w", err)
	}
	return nil
}

// transact opens the database for one transaction. Its pages are mapped, so
// a file that was cut short would end the process by SIGBUS where it is read;
// and bbolt panics at a page that is not what a pointer says.
func (s *Store) transact(readOnly bool, do func(*bolt.DB) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var file *os.File
	defer func() {
		if cause := recover(); cause != nil {
			abandon(file)
			err = s.corrupt(cause)
		}
	}()
	db, err := bolt.Open(s.path(), 0o600, &bolt.Options{
		ReadOnly:     readOnly,
		NoSync:       true,
		NoGrowSync:   true,
		NoStatistics: true,
		FreelistType: bolt.FreelistMapType,
		OpenFile: func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(path, flag, mode)
			return file, err
		},
	})
	if isDamage(err) {
		return s.corrupt(err)
	}
	if err != nil {
		return fmt.Errorf("open state %s: %w", s.path(), err)
	}
	if err := do(db); err != nil {
		return errors.Join(err, db.Close())
	}
	return db.Close()
}

// abandon lets go of a database whose Close might wait for ever for a lock
// that the panic left held. The mapping stays, and keeps the file open, so
// the file's lock is not gone with Close alone.
func abandon(file *os.File) {
	if file != nil {
		unix.Flock(int(file.Fd()), unix.LOCK_UN)
		file.Close()
	}
}

// isDamage tells bbolt's errors about the file's content.
func isDamage(err error) bool {
	for _, damage := range []error{bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, damage) {
			return true
		}
	}
	return false
}

func (s *Store) corrupt(cause any) error {
	return fmt.Errorf("%w: %s: %v; remove it, delete what is attached, run \"berth network gc\" and attach anew",
		ErrCorrupt, s.path(), cause)
}
