package netdev

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteSysctl writes /proc/sys/net/KEY in the calling thread's namespace: for
// the settings of a device that has just been made. Where the file cannot be
// written, because /proc/sys is read-only, the right value is enough. A key
// that is missing because the kernel has no IPv6 is success.
func WriteSysctl(key, value string) error {
	path := "/proc/sys/net/" + key
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
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
	if old, readErr := os.ReadFile(path); readErr == nil && strings.TrimSpace(string(old)) == value {
		return nil
	}
	return fmt.Errorf("set sysctl net/%s to %s: %w", key, value, err)
}

// ReadSysctl reads /proc/sys/net/KEY in the calling thread's namespace. A
// missing key satisfies errors.Is(err, fs.ErrNotExist).
func ReadSysctl(key string) (string, error) {
	path := "/proc/sys/net/" + key
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "read sysctl", Path: path, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 128)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return "", &os.PathError{Op: "read sysctl", Path: path, Err: err}
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

// ErrNoIPv6 says that the kernel has no IPv6.
var ErrNoIPv6 = errors.New("kernel without IPv6")

// EnableForwarding lets the host route for a family. Turning IPv6 forwarding
// on makes a host stop listening to its routers, and it loses its default
// route; so devices that listen now are told to go on (accept_ra 2,
// Documentation/networking/ip-sysctl.rst), but for those in except.
func EnableForwarding(is4 bool, except func(device string) bool) error {
	key := "ipv6/conf/all/forwarding"
	if is4 {
		key = "ipv4/ip_forward"
	}
	switch on, err := ReadSysctl(key); {
	case err == nil && on == "1":
		return nil
	case err != nil && !is4 && !hasIPv6():
		return fmt.Errorf("enable forwarding: %w", ErrNoIPv6)
	case err != nil:
		return err
	}
	if !is4 {
		if err := keepRouters(except); err != nil {
			return err
		}
	}
	return WriteSysctl(key, "1")
}

func keepRouters(except func(string) bool) error {
	entries, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return fmt.Errorf("list devices with IPv6: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if name == "all" || name == "default" || name == "lo" || except(name) {
			continue
		}
		key := "ipv6/conf/" + name + "/accept_ra"
		if old, err := ReadSysctl(key); err != nil || old != "1" {
			continue // the device has gone, or does not listen
		}
		if err := WriteSysctl(key, "2"); err != nil {
			return err
		}
	}
	return nil
}
