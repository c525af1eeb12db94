package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// streams are the standard streams of a process in a container: pipes, or
// one pseudo-terminal.
type streams struct {
	childEnds []*os.File // closed once the process has its own
	stdin     *os.File
	stdout    *os.File // the terminal's master, too
	stderr    *os.File
	console   *os.File // socket over which libcontainer hands out the master
	inputMu   sync.Mutex
	pumps     sync.WaitGroup
}

// openStreams makes the streams and gives the process its ends.
func openStreams(terminal, stdin bool, p *libcontainer.Process) (*streams, error) {
	s := &streams{}
	if terminal {
		return s, s.openConsole(p)
	}
	return s, s.openPipes(p, stdin)
}

func (s *streams) openConsole(p *libcontainer.Process) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make console socket: %w", err)
	}
	s.console = os.NewFile(uintptr(fds[0]), "console")
	p.ConsoleSocket = os.NewFile(uintptr(fds[1]), "console of the container")
	s.childEnds = []*os.File{p.ConsoleSocket}
	return nil
}

func (s *streams) openPipes(p *libcontainer.Process, openStdin bool) (err error) {
	var in, out, errs *os.File
	if openStdin {
		if in, s.stdin, err = os.Pipe(); err != nil {
			return fmt.Errorf("make streams: %w", err)
		}
		p.Stdin = in
		s.childEnds = append(s.childEnds, in)
	}
	if s.stdout, out, err = os.Pipe(); err != nil {
		return fmt.Errorf("make streams: %w", err)
	}
	if s.stderr, errs, err = os.Pipe(); err != nil {
		return fmt.Errorf("make streams: %w", err)
	}
	p.Stdout, p.Stderr = out, errs
	s.childEnds = append(s.childEnds, out, errs)
	// A process of another user must be able to open /dev/stdout.
	for _, f := range s.childEnds {
		if err := f.Chown(p.UID, p.GID); err != nil {
			return fmt.Errorf("make streams: %w", err)
		}
	}
	return nil
}

// started closes what the process has now, or never will have.
func (s *streams) started() {
	for _, f := range s.childEnds {
		f.Close()
	}
}

// abandon closes our ends of the streams of a process that did not start.
func (s *streams) abandon() {
	for _, f := range []*os.File{s.stdin, s.stdout, s.stderr, s.console} {
		if f != nil {
			f.Close()
		}
	}
}

// receiveConsole takes the terminal's master from libcontainer, where there
// is a terminal.
func (s *streams) receiveConsole() error {
	if s.console == nil {
		return nil
	}
	master, err := receiveFile(s.console)
	if err != nil {
		return fmt.Errorf("receive the container's terminal: %w", err)
	}
	s.stdin, s.stdout = master, master
	return s.console.Close()
}

// pump copies what the process prints until drain.
func (s *streams) pump(log *logFile, client *frameWriter) error {
	if err := s.receiveConsole(); err != nil {
		return err
	}
	s.copy(log, Stdout, s.stdout, client.frames(frameStdout))
	if s.stderr != nil {
		s.copy(log, Stderr, s.stderr, client.frames(frameStderr))
	}
	return nil
}

func (s *streams) copy(log *logFile, name string, from *os.File, client io.Writer) {
	s.pumps.Go(func() { log.copyLines(name, from, client) })
}

// drain waits until everything printed has been copied.
func (s *streams) drain() {
	s.pumps.Wait()
	s.closeStdin()
	s.stdout.Close()
	if s.stderr != nil {
		s.stderr.Close()
	}
}

func (s *streams) writeStdin(p []byte) {
	s.inputMu.Lock()
	stdin := s.stdin
	s.inputMu.Unlock()
	if stdin != nil {
		stdin.Write(p)
	}
}

// closeStdin ends the process's input. A terminal has no end of its own: what
// is typed there tells it.
func (s *streams) closeStdin() {
	s.inputMu.Lock()
	defer s.inputMu.Unlock()
	if s.stdin != nil && s.stdin != s.stdout {
		s.stdin.Close()
	}
	s.stdin = nil
}

func (s *streams) resize(payload []byte) {
	var w Winsize
	if json.Unmarshal(payload, &w) == nil {
		s.setSize(w)
	}
}

// setSize does nothing without a terminal.
func (s *streams) setSize(w Winsize) error {
	if s.console == nil {
		return nil
	}
	return setWinsize(s.stdout, w)
}

func setWinsize(tty *os.File, w Winsize) error {
	raw, err := tty.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(err, raw.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: w.Rows, Col: w.Cols})
	}), err)
}

// receiveFile takes one file descriptor from a unix socket (SCM_RIGHTS).
func receiveFile(socket *os.File) (*os.File, error) {
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, io.ErrUnexpectedEOF
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	// Non-blocking, so that a reader waits in the poller and Close wakes it.
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}
