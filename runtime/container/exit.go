package container

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// initName is what libcontainer calls its process until that becomes the
// command (nsexec.c).
const initName = "runc:[2:INIT]"

// await waits for the process and tells whether it ever became its command.
// The kernel may refuse a file that is there and executable: it is for
// another processor, or the interpreter it names is missing. By then
// libcontainer has said that all is well, and its process ends with a code
// that the command could have had too. But it keeps its name, which the
// kernel shows until the process has been reaped.
func await(p *libcontainer.Process) (status *os.ProcessState, ran bool, err error) {
	ran = true
	if pid, err := p.Pid(); err == nil && ended(pid) == nil {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		ran = err != nil || strings.TrimSpace(string(name)) != initName
	}
	status, err = p.Wait()
	return status, ran, err
}

// ended waits for a child and leaves it to be reaped.
func ended(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// exitCode is the one to tell the user, who may be a shell.
func exitCode(status *os.ProcessState, ran bool) int {
	ws, ok := status.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return status.ExitCode()
	case ws.Signaled():
		return CodeSignal + int(ws.Signal())
	case !ran:
		return CodeNotRunnable
	}
	return ws.ExitStatus()
}
