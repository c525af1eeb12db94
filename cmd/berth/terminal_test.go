package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pty is a terminal whose keyboard and screen the test has.
type pty struct {
	master, slave *os.File
	mu            sync.Mutex
	screen        strings.Builder
}

func openPTY(t *testing.T) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{master: master, slave: slave}
	t.Cleanup(func() { slave.Close(); master.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			p.mu.Lock()
			p.screen.Write(buf[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *pty) resize(rows, cols uint16) {
	unix.IoctlSetWinsize(int(p.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
}

func (p *pty) shows(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.screen.String(), text)
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.start("c", h.rootfs, "sleep", "1000")
	for _, args := range [][]string{{"run", "--rm", "-it", "--network", "none", h.rootfs, "sh"}, {"exec", "-it", "c", "sh"}} {
		p := openPTY(t)
		p.resize(33, 77)
		cmd := h.command(args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := h.Start(cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			if t.Failed() {
				t.Logf("%s: screen: %q", args[0], p.screen.String())
			}
		})
		eventually(t, args[0]+" prompts", func() bool { return p.shows("# ") })
		fmt.Fprint(p.master, "tty; echo size $(stty size)\n")
		eventually(t, args[0]+" has a terminal of this size", func() bool { return p.shows("/dev/pts/") && p.shows("size 33 77") })
		p.resize(11, 22)
		eventually(t, args[0]+" follows a resize", func() bool {
			fmt.Fprint(p.master, "echo size $(stty size)\n")
			return p.shows("size 11 22")
		})
		fmt.Fprint(p.master, "sh -c 'echo asleep$((1+1)); exec sleep 1000'\n")
		eventually(t, args[0]+" sleeps", func() bool { return p.shows("asleep2") })
		fmt.Fprint(p.master, "\x03") // is for the container's foreground process
		fmt.Fprint(p.master, "echo after$((1+1)); exit 9\n")
		eventually(t, args[0]+" goes on", func() bool { return p.shows("after2") })
		if cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
			t.Errorf("%s: code %d; screen: %q", args[0], cmd.ProcessState.ExitCode(), p.screen.String())
		}
		mode, err := unix.IoctlGetTermios(int(p.slave.Fd()), unix.TCGETS)
		if err != nil || mode.Lflag&unix.ECHO == 0 {
			t.Errorf("%s: the terminal was left raw", args[0])
		}
	}
	if r := h.try("run", "--rm", "-it", "--network", "none", h.rootfs, "true"); r.code != 125 || !strings.Contains(r.err, "not a terminal") {
		t.Errorf("-it without a terminal: %+v", r)
	}
}
