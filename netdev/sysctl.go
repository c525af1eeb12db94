package netdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// SetSysctl writes /proc/sys/net/KEY in the handle's namespace, for example
// SetSysctl("ipv6/conf/eth0/accept_ra", "0"). The file is looked up in the
// namespace of the thread that opens it, so this enters it. It writes only
// where the value differs: on a host mounted read-only a right value is
// enough. A key that is missing because the kernel has no IPv6 is success.
func (h *Handle) SetSysctl(key, value string) error {
	write := func() error {
		path := filepath.Join("/proc/sys/net", key)
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "ipv6/") && !hasIPv6() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read sysctl net/%s: %w", key, err)
		}
		if strings.TrimSpace(string(old)) == value {
			return nil
		}
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl net/%s to %s: %w", key, value, err)
		}
		return nil
	}
	return h.inside(write)
}

func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}
