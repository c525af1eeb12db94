package nettest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program that runs inside a host beside the test.
type Process struct {
	cmd    *exec.Cmd
	pidfd  *os.File
	output lockedBuffer
	done   chan struct{}
	err    error // of Wait; read after done
}

// Background starts a program inside the host. When the test ends it is
// killed with its children, and its output is shown if the test has failed.
func (h *Host) Background(name string, args ...string) *Process {
	h.t.Helper()
	p := &Process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.WaitDelay = time.Second // a child that left the group may hold the pipe
	var fd int
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, PidFD: &fd}
	if err := h.Start(p.cmd); err != nil {
		h.t.Fatalf("%s: start %s %q: %v", h.Name, name, args, err)
	}
	p.pidfd = os.NewFile(uintptr(fd), "pidfd") // nil where the kernel has none
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	h.t.Cleanup(func() { p.end(h.t) })
	return p
}

func (p *Process) end(t testing.TB) {
	p.Kill()
	p.pidfd.Close()
	if t.Failed() {
		t.Logf("%q printed:\n%s", p.cmd.Args, p.Output())
	}
}

// Output is what the program has printed so far, on both streams.
func (p *Process) Output() string { return p.output.String() }

// PID is the process id, in the machine's terms.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program alone.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the program to end, and is nil where it succeeded.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Kill kills the program and its process group, and waits for it.
func (p *Process) Kill() {
	p.killGroup()
	<-p.done
}

// killGroup does not go by the number of a program that has ended: the kernel
// gives it again, soon where tests run thousands of programs, perhaps to the
// process group of another test.
func (p *Process) killGroup() {
	err := unix.PidfdSendSignal(int(p.pidfd.Fd()), unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	if err == nil || errors.Is(err, unix.ESRCH) {
		return
	}
	select {
	case <-p.done:
	default: // before Linux 6.9
		syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
