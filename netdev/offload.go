package netdev

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of SIOCETHTOOL (linux/ethtool.h).
const (
	ethtoolGTXCSUM = 0x16
	ethtoolSTXCSUM = 0x17
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ethtoolRequest is struct ifreq of linux/if.h with a pointer in its union.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte // the union's other members are longer
}

// ChecksumOffload tells whether a device leaves the checksums of what it sends
// to the devices below it.
func (h *Handle) ChecksumOffload(link Link) (bool, error) {
	value := ethtoolValue{cmd: ethtoolGTXCSUM}
	if err := h.ethtool(link.Attrs().Name, &value); err != nil {
		return false, fmt.Errorf("read checksum offload of %s: %w", link.Attrs().Name, err)
	}
	return value.data != 0, nil
}

// SetChecksumOffload has a device leave checksums to the devices below it, or
// has the kernel compute them before. A network card that does not know the
// encapsulation, or whose driver does it wrong, sends broken ones.
func (h *Handle) SetChecksumOffload(link Link, on bool) error {
	value := ethtoolValue{cmd: ethtoolSTXCSUM}
	if on {
		value.data = 1
	}
	if err := h.ethtool(link.Attrs().Name, &value); err != nil {
		return fmt.Errorf("set checksum offload of %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func (h *Handle) ethtool(name string, value *ethtoolValue) error {
	return h.inside(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		req := ethtoolRequest{data: unsafe.Pointer(value)}
		copy(req.name[:unix.IFNAMSIZ-1], name)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			return errno
		}
		return nil
	})
}
