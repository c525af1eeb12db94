package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/pause"
)

// Version tells one content of the database from another. Versions are
// compared with ==; the zero Version is that of no database.
type Version struct {
	inode uint64
	size  int64
	mtime unix.Timespec
}

// settling is how long after a change a further one may bear the same time:
// the kernel stamps files with the time of its last tick, at worst 10 ms old.
const settling = 20 * time.Millisecond

// Version is the database's, without opening it. Take it before a View and
// compare it later: while settled is true and the version the same, what was
// seen still holds. One that is not settled may hide a change that is about
// to come in the same instant.
func (s *Store) Version() (v Version, settled bool, err error) {
	var st unix.Stat_t
	now := time.Now()
	switch err := unix.Stat(s.path(), &st); {
	case errors.Is(err, unix.ENOENT):
		return Version{}, true, nil
	case err != nil:
		return Version{}, false, &os.PathError{Op: "stat state", Path: s.path(), Err: err}
	}
	age := now.Sub(time.Unix(st.Mtim.Unix()))
	return Version{inode: st.Ino, size: st.Size, mtime: st.Mtim}, age > settling, nil
}

// Watch calls changed after transactions have changed the database and after
// other files of the directory have come or been closed by a writer, at least
// once for any number of such events within settle. It returns when ctx ends.
// The directory is made when it is not there.
func (s *Store) Watch(ctx context.Context, settle time.Duration, changed func()) error {
	if err := s.prepare(); err != nil {
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch state: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	// A writer closes the database after each transaction; one that only
	// reads it opens it for reading.
	if _, err := unix.InotifyAddWatch(fd, s.dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_DELETE_SELF); err != nil {
		return fmt.Errorf("watch state: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()
	buf := make([]byte, 16<<10)
	for {
		pause.Gather(events, settle)
		_, err := events.Read(buf)
		switch {
		case errors.Is(err, fs.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("watch state: %w", err)
		}
		changed()
	}
}
