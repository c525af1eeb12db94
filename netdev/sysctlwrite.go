package netdev

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Proc is a procfs of one's own, mounted nowhere. In the host's /proc the
// directory "net" of sysctls is another one for each network namespace, all
// under one name in one hash chain of the directory cache: who is the first to
// look into a new namespace walks past those of all the others, a microsecond
// each, and leaves one more (proc_sys_compare, fs/proc/proc_sysctl.c). What is
// cached of a procfs of its own goes with it.
type Proc struct{ fd int }

// OpenProc mounts a procfs. Where that is not allowed, or the kernel cannot
// (before Linux 5.2), it is the one at /proc.
func OpenProc() Proc {
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return hostProc
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return hostProc
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return hostProc
	}
	return Proc{fd}
}

// hostProc is the one at /proc.
var hostProc = Proc{unix.AT_FDCWD}

// Close unmounts it, and does not wait for the kernel to finish that: it
// takes a grace period of RCU.
func (p Proc) Close() {
	if p != hostProc {
		go unix.Close(p.fd)
	}
}

func (p Proc) sysctl(key string) string {
	if p == hostProc {
		return "/proc/sys/net/" + key
	}
	return "sys/net/" + key
}

// WriteSysctl writes /proc/sys/net/KEY in the calling thread's namespace: for
// the settings of a device that has just been made. Where the file cannot be
// written, because /proc/sys is read-only, the right value is enough. A key
// that is missing because the kernel has no IPv6 is success.
func (p Proc) WriteSysctl(key, value string) error {
	fd, err := unix.Openat(p.fd, p.sysctl(key), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		unix.Close(fd)
	}
	switch {
	case err == nil:
		return nil
	case err == unix.ENOENT && strings.HasPrefix(key, "ipv6/") && !hasIPv6():
		return nil
	}
	if old, readErr := p.ReadSysctl(key); readErr == nil && old == value {
		return nil
	}
	return fmt.Errorf("set sysctl net/%s to %s: %w", key, value, err)
}

// ReadSysctl reads /proc/sys/net/KEY in the calling thread's namespace. A
// missing key satisfies errors.Is(err, fs.ErrNotExist).
func (p Proc) ReadSysctl(key string) (string, error) {
	fd, err := unix.Openat(p.fd, p.sysctl(key), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "read sysctl", Path: "/proc/sys/net/" + key, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 128)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return "", &os.PathError{Op: "read sysctl", Path: "/proc/sys/net/" + key, Err: err}
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

// WriteSysctl is Proc.WriteSysctl through /proc.
func WriteSysctl(key, value string) error { return hostProc.WriteSysctl(key, value) }

// ReadSysctl is Proc.ReadSysctl through /proc.
func ReadSysctl(key string) (string, error) { return hostProc.ReadSysctl(key) }
