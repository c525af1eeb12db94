package netdev

import (
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
