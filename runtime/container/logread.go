package container

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// LogOptions choose what Logs reads.
type LogOptions struct {
	Follow bool // until the container has ended
}

// Logs calls fn with each line of the container's log, the oldest first.
func (c *Container) Logs(ctx context.Context, o LogOptions, fn func(LogLine) error) error {
	if !o.Follow {
		return c.readLogs(fn)
	}
	watch, err := watchDir(c.Dir())
	if err != nil {
		return fmt.Errorf("follow log of container %s: %w", c.Name, err)
	}
	defer watch.Close()
	// The watch is there before the first look, so nothing is missed between.
	stop := context.AfterFunc(ctx, func() { watch.Close() })
	defer stop()
	go func() {
		c.await()
		watch.Close()
	}()
	return c.followLogs(watch, fn)
}

func (c *Container) readLogs(fn func(LogLine) error) error {
	for _, path := range []string{c.LogPath() + ".1", c.LogPath()} {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		err = (&logReader{file: file}).rest(fn)
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// followLogs reads on whenever something in the container's directory has
// changed, until the watch is closed, and then once more to the end.
func (c *Container) followLogs(watch *os.File, fn func(LogLine) error) error {
	var r logReader
	defer func() { r.Close() }()
	for {
		if err := r.advance(c.LogPath(), fn); err != nil {
			return err
		}
		events := make([]byte, 4096)
		if _, err := watch.Read(events); err != nil {
			return r.advance(c.LogPath(), fn)
		}
	}
}

// logReader reads a log file that still grows.
type logReader struct {
	file    *os.File
	lines   *bufio.Reader
	partial []byte
}

func (r *logReader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// advance reads to the end of the file that is open and, when another has
// taken its place, to the end of that one.
func (r *logReader) advance(path string, fn func(LogLine) error) error {
	for {
		if r.file != nil {
			if err := r.rest(fn); err != nil {
				return err
			}
		}
		next, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if r.file != nil && sameFile(r.file, next) {
			return next.Close()
		}
		if r.file != nil {
			// What was written between the last look and the rotation.
			if err := r.rest(fn); err != nil {
				return errors.Join(err, next.Close())
			}
			r.file.Close()
		}
		*r = logReader{file: next}
	}
}

func sameFile(a, b *os.File) bool {
	ai, aerr := a.Stat()
	bi, berr := b.Stat()
	return aerr == nil && berr == nil && os.SameFile(ai, bi)
}

// rest reads complete lines to the end of the file.
func (r *logReader) rest(fn func(LogLine) error) error {
	if r.lines == nil {
		r.lines = bufio.NewReaderSize(r.file, 64<<10)
	}
	for {
		part, err := r.lines.ReadBytes('\n')
		r.partial = append(r.partial, part...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		var line LogLine
		if err := json.Unmarshal(r.partial, &line); err != nil {
			return fmt.Errorf("read log %s: %w", r.file.Name(), err)
		}
		r.partial = nil
		if err := fn(line); err != nil {
			return err
		}
	}
}

// watchDir opens an inotify instance on a directory. Closing it wakes a
// reader.
func watchDir(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE_SELF); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}
