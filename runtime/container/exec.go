package container

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// ExecOptions say what Exec runs.
type ExecOptions struct {
	Args       []string
	Env        []string // K=V, over the container's
	WorkingDir string
	User       string
	Terminal   bool
	Stdin      io.Reader // nil: none
	Stdout     io.Writer
	Stderr     io.Writer
}

// Execution is a process that Exec has started in a container. It belongs to
// the calling process, which must Wait for it.
type Execution struct {
	process *libcontainer.Process
	streams *streams
	options ExecOptions
}

// Exec runs another process in a running container, under all that confines
// the container. ErrNoCommand and ErrNotRunnable tell of the command.
func (c *Container) Exec(o ExecOptions) (*Execution, error) {
	st, err := c.State()
	if err != nil {
		return nil, err
	}
	if st.Status != Running {
		return nil, fmt.Errorf("exec in container %s: %w", c.Name, ErrNotRunning)
	}
	process, err := c.execProcess(st.PID, o)
	if err != nil {
		return nil, err
	}
	sandbox, err := libcontainer.Load(c.store.sandboxes(), c.ID)
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", c.Name, err)
	}
	e := &Execution{process: process, options: o}
	if e.streams, err = openStreams(o.Terminal, o.Stdin != nil, process); err != nil {
		return nil, err
	}
	err = sandbox.Run(process)
	e.streams.started()
	if err != nil {
		e.streams.abandon()
		return nil, fmt.Errorf("exec in container %s: %w", c.Name, execFailure(st.PID, process, err))
	}
	return e, e.connect()
}

func (c *Container) execProcess(pid int, o ExecOptions) (*libcontainer.Process, error) {
	over := c.Config
	over.Args, over.Env, over.Terminal = o.Args, MergeEnv(c.Env, o.Env), o.Terminal
	if o.User != "" {
		over.User = o.User
	}
	if o.WorkingDir != "" {
		over.WorkingDir = o.WorkingDir
	}
	if err := over.validateProcess(); err != nil {
		return nil, err
	}
	spec, err := (&Container{Config: over}).processSpec(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return nil, err
	}
	return libcontainerProcess(spec, false), nil
}

// connect joins the process's streams with the caller's.
func (e *Execution) connect() error {
	if err := e.streams.receiveConsole(); err != nil {
		return errors.Join(err, e.process.Signal(unix.SIGKILL))
	}
	e.pipe(e.options.Stdout, e.streams.stdout)
	if e.streams.stderr != nil {
		e.pipe(e.options.Stderr, e.streams.stderr)
	}
	if e.options.Stdin != nil {
		go func() {
			io.Copy(writerFunc(e.streams.writeStdin), e.options.Stdin)
			e.streams.closeStdin()
		}()
	}
	return nil
}

func (e *Execution) pipe(to io.Writer, from *os.File) {
	e.streams.pumps.Go(func() { io.Copy(to, from) })
}

// Resize tells the size of the caller's terminal.
func (e *Execution) Resize(w Winsize) error { return e.streams.setSize(w) }

// Signal sends a signal to the process.
func (e *Execution) Signal(sig unix.Signal) error { return e.process.Signal(sig) }

// Wait returns the exit code of the process when it has ended and all it has
// printed is copied.
func (e *Execution) Wait() (int, error) {
	status, ran, err := await(e.process)
	if status == nil {
		return CodeBerth, fmt.Errorf("wait for exec: %w", err)
	}
	e.streams.drain()
	return exitCode(status, ran), nil
}

type writerFunc func([]byte)

func (w writerFunc) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}
