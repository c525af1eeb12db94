package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// Exit codes of berth itself, as other container command lines have them.
const (
	CodeBerth       = 125 // the container could not be made
	CodeNotRunnable = 126 // its command cannot be run
	CodeNoCommand   = 127 // its command was not found
	CodeSignal      = 128 // and the signal's number
)

// supervisor is the life of one container, from its network namespace to its
// exit code.
type supervisor struct {
	c       *Container
	net     Networker
	client  *frameWriter // nil: nobody listens
	conn    io.ReadCloser
	log     *logFile
	mounts  *mountThread
	names   *names
	st      State
	undo    []func() error
	sandbox *libcontainer.Container
	process *libcontainer.Process
	streams *streams
}

// Supervise makes the container, runs it to its end and undoes it all. It is
// the whole life of the supervisor process, which holds the container's lock.
// conn leads to the client that started it; a client that goes away does not
// end the container.
func Supervise(ctx context.Context, c *Container, conn io.ReadWriteCloser, net Networker) error {
	s := &supervisor{c: c, net: net, conn: conn, client: &frameWriter{w: conn}}
	// Not signal.Ignore: what is ignored stays ignored across exec, in the
	// container's processes, too.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT)
	s.st = State{Status: Created, BootID: c.store.boot, Supervisor: os.Getpid()}
	code, err := s.live(ctx)
	err = errors.Join(err, s.unwind())
	outcome := Outcome{Code: code}
	if err != nil {
		outcome.Error = err.Error()
	}
	s.st.Status, s.st.PID, s.st.ExitCode, s.st.Error, s.st.Finished = Exited, 0, code, outcome.Error, time.Now().UTC()
	if c.AutoRemove {
		err = errors.Join(err, c.discard())
	} else {
		err = errors.Join(err, c.setState(s.st))
	}
	s.client.writeJSON(frameExit, outcome)
	return errors.Join(err, conn.Close())
}

// onEnd registers the inverse of a step that has just succeeded.
func (s *supervisor) onEnd(inverse func() error) { s.undo = append(s.undo, inverse) }

// unwind undoes every step, the last one first, past errors.
func (s *supervisor) unwind() error {
	var errs []error
	for _, inverse := range slices.Backward(s.undo) {
		errs = append(errs, inverse())
	}
	return errors.Join(errs...)
}

func (s *supervisor) live(ctx context.Context) (int, error) {
	if err := s.prepare(ctx); err != nil {
		return CodeBerth, err
	}
	if err := s.start(); err != nil {
		return s.startFailure(), err
	}
	s.st.Status, s.st.Started = Running, time.Now().UTC()
	s.st.PID, _ = s.process.Pid()
	if err := s.c.setState(s.st); err != nil {
		return CodeBerth, errors.Join(err, s.process.Signal(unix.SIGKILL), s.reap())
	}
	s.client.write(frameStarted, nil)
	if err := s.streams.pump(s.log, s.client); err != nil {
		return CodeBerth, errors.Join(err, s.process.Signal(unix.SIGKILL), s.reap())
	}
	go s.serveClient()
	go s.forwardTermination()
	return s.wait()
}

// prepare does all that can be done before the init process.
func (s *supervisor) prepare(ctx context.Context) (err error) {
	if s.log, err = createLog(s.c.LogPath()); err != nil {
		return err
	}
	s.onEnd(s.log.Close)
	if err := s.c.setState(s.st); err != nil {
		return err
	}
	if err := s.joinNetworks(ctx); err != nil {
		return err
	}
	s.mounts, err = newMountThread()
	return err
}

// start makes the sandbox and runs the container's command in it.
func (s *supervisor) start() error {
	err := s.mounts.do(func() (err error) {
		s.sandbox, s.process, err = s.makeSandbox()
		return err
	})
	if err != nil {
		return err
	}
	s.onEnd(s.destroySandbox)
	if s.streams, err = openStreams(s.c.Terminal, s.c.OpenStdin, s.process); err != nil {
		return err
	}
	// The thread that starts the init process is its parent.
	err = s.mounts.do(func() error { return s.sandbox.Run(s.process) })
	s.streams.started()
	if err != nil {
		s.streams.abandon()
		return fmt.Errorf("start container %s: %w", s.c.Name, err)
	}
	return nil
}

func (s *supervisor) destroySandbox() error {
	if err := s.sandbox.Destroy(); err != nil {
		return fmt.Errorf("remove container %s: %w", s.c.Name, err)
	}
	return nil
}

func (s *supervisor) wait() (int, error) {
	status, ran, err := await(s.process)
	if status == nil {
		return CodeBerth, fmt.Errorf("wait for container %s: %w", s.c.Name, err)
	}
	// The init process took the whole PID namespace with it, so the streams
	// have ended too.
	s.streams.drain()
	return exitCode(status, ran), nil
}

func (s *supervisor) reap() error {
	_, err := s.process.Wait()
	return err
}

// forwardTermination hands a request to the supervisor to end to the
// container, which decides.
func (s *supervisor) forwardTermination() {
	requests := make(chan os.Signal, 1)
	signal.Notify(requests, unix.SIGTERM)
	sig, err := ParseSignal(s.c.StopSignal)
	if err != nil {
		sig = unix.SIGTERM
	}
	for range requests {
		s.process.Signal(sig)
	}
}

// serveClient does what the client's frames say until it goes away, which to
// the container is the end of its input.
func (s *supervisor) serveClient() {
	defer s.streams.closeStdin()
	for {
		kind, payload, err := readFrame(s.conn)
		if err != nil {
			return
		}
		switch kind {
		case frameStdin:
			s.streams.writeStdin(payload)
		case frameStdinEnd:
			s.streams.closeStdin()
		case frameResize:
			s.streams.resize(payload)
		case frameSignal:
			if len(payload) == 1 {
				s.process.Signal(unix.Signal(payload[0]))
			}
		}
	}
}

// discard removes the container's files and frees its name.
func (c *Container) discard() error {
	// First the name and the configuration: a crash between leaves a
	// directory that is nobody's, which Remove and List pass over.
	err := errors.Join(c.removeVolumes(), c.store.releaseName(c), os.Remove(filepath.Join(c.Dir(), "config.json")))
	if err := os.RemoveAll(c.Dir()); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	return err
}
