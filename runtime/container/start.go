package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// File descriptors that a supervisor is started with.
const (
	supervisorLockFD   = 3
	supervisorClientFD = 4
)

// Session is a client's connection to the supervisor that it has started.
type Session struct {
	conn io.ReadWriteCloser
	out  *frameWriter
}

// Start starts the container's supervisor, argv, a command that calls
// Supervised, and hands it the lock. It returns when the supervisor has been
// started; what becomes of the container the Session tells.
func (c *Container) Start(lock *Lock, argv ...string) (*Session, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make supervisor's socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "client")
	defer theirs.Close()
	conn, err := fileConn(fds[0])
	if err != nil {
		return nil, err
	}
	if err := c.startSupervisor(argv, lock.file, theirs); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Session{conn: conn, out: &frameWriter{w: conn}}, lock.Release()
}

// startSupervisor makes it the leader of a session, so that no terminal's
// signals reach it.
func (c *Container) startSupervisor(argv []string, lock, client *os.File) error {
	stderr, err := os.OpenFile(filepath.Join(c.Dir(), "supervisor.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	defer stderr.Close()
	cmd := exec.Command("/proc/self/exe", append(argv[1:], c.ID)...)
	cmd.Args[0] = argv[0]
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = stderr, stderr
	cmd.ExtraFiles = []*os.File{lock, client}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	return cmd.Process.Release()
}

// Supervised takes over what Start handed to this process: the container's
// lock, held as long as the process lives, and the client's connection.
func (s *Store) Supervised(id string) (*Container, io.ReadWriteCloser, error) {
	for _, fd := range []int{supervisorLockFD, supervisorClientFD} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, nil, fmt.Errorf("file descriptor %d: %w: a supervisor is started by berth run", fd, err)
		}
	}
	c, err := s.load(id)
	if err != nil {
		return nil, nil, err
	}
	conn, err := fileConn(supervisorClientFD)
	return c, conn, err
}

func fileConn(fd int) (io.ReadWriteCloser, error) {
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("open supervisor's socket: %w", err)
	}
	return conn, nil
}

// Close lets go of the container, which goes on.
func (s *Session) Close() error { return s.conn.Close() }

// Started waits until the container runs, and hands each warning of its
// networks to warn. The Outcome is not nil when it has not been started.
func (s *Session) Started(warn func(warning string)) (*Outcome, error) {
	for {
		kind, payload, err := readFrame(s.conn)
		if err != nil {
			return nil, fmt.Errorf("the container's supervisor has died: %w", err)
		}
		switch kind {
		case frameWarning:
			warn(string(payload))
		case frameStarted:
			return nil, nil
		case frameExit:
			return decodeOutcome(payload)
		default:
			return nil, fmt.Errorf("read from supervisor: frame %q came before the container had started", kind)
		}
	}
}

func decodeOutcome(payload []byte) (*Outcome, error) {
	o := new(Outcome)
	if err := json.Unmarshal(payload, o); err != nil {
		return nil, fmt.Errorf("read from supervisor: %w", err)
	}
	return o, nil
}

// Wait copies what the container prints and returns how it ended.
func (s *Session) Wait(stdout, stderr io.Writer) (*Outcome, error) {
	for {
		kind, payload, err := readFrame(s.conn)
		if err != nil {
			return nil, fmt.Errorf("the container's supervisor has died: %w", err)
		}
		switch kind {
		case frameStdout:
			stdout.Write(payload)
		case frameStderr:
			stderr.Write(payload)
		case frameExit:
			return decodeOutcome(payload)
		}
	}
}

// CopyStdin sends what r gives to the container until its end.
func (s *Session) CopyStdin(r io.Reader) {
	if _, err := io.Copy(s.out.frames(frameStdin), r); err == nil {
		s.out.write(frameStdinEnd, nil)
	}
}

// Resize tells the size of the client's terminal.
func (s *Session) Resize(w Winsize) error { return s.out.writeJSON(frameResize, w) }

// Signal sends a signal to the container's init process.
func (s *Session) Signal(sig unix.Signal) error { return s.out.write(frameSignal, []byte{byte(sig)}) }
