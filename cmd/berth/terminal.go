package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/runtime/container"
)

// terminal is the one that berth was started from. It is nil where the
// container has none.
type terminal struct {
	fd    int
	saved *unix.Termios
}

// openTerminal checks before anything is made that there is a terminal to
// hand to the container.
func openTerminal(wanted, interactive bool) (*terminal, error) {
	if !wanted {
		return nil, nil
	}
	fd := int(os.Stdin.Fd())
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		if interactive {
			return nil, errors.New("-t: standard input is not a terminal")
		}
		return nil, nil
	}
	return &terminal{fd: fd}, nil
}

// raw hands every key to the container, and leaves to its terminal what keys
// mean (termios(3), cfmakeraw).
func (t *terminal) raw() error {
	if t == nil {
		return nil
	}
	saved, err := unix.IoctlGetTermios(t.fd, unix.TCGETS)
	if err != nil {
		return err
	}
	mode := *saved
	mode.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	mode.Oflag &^= unix.OPOST
	mode.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	mode.Cflag = mode.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(t.fd, unix.TCSETS, &mode); err != nil {
		return err
	}
	t.saved = saved
	return nil
}

// restore may be called again.
func (t *terminal) restore() {
	if t != nil && t.saved != nil {
		unix.IoctlSetTermios(t.fd, unix.TCSETS, t.saved)
		t.saved = nil
	}
}

func (t *terminal) tellSize(to signalled) {
	if t == nil {
		return
	}
	if w, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ); err == nil {
		to.Resize(container.Winsize{Rows: w.Row, Cols: w.Col})
	}
}
