package netdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoWireGuard and ErrNoTUN say that the kernel lacks a device's kind.
var (
	ErrNoWireGuard = errors.New("the kernel has no WireGuard (Linux 5.6, CONFIG_WIREGUARD)")
	ErrNoTUN       = errors.New("the kernel has no TUN devices (CONFIG_TUN, /dev/net/tun)")
)

// AddWireGuard makes a WireGuard device, down and without a key or an alias. It
// fails with ErrNoWireGuard where the kernel cannot.
func (h *Handle) AddWireGuard(name string) (Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	err := h.nl.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("create WireGuard device %s: %w", name, ErrNoWireGuard)
	}
	if err != nil {
		return nil, fmt.Errorf("create WireGuard device %s: %w", name, err)
	}
	return h.Link(name)
}

// IsWireGuard and IsTUN tell a device's kind. The library writes the latter's
// as tuntap and reads it as tun.
func IsWireGuard(link Link) bool { return link.Type() == "wireguard" }
func IsTUN(link Link) bool       { return link.Type() == "tun" || link.Type() == "tuntap" }

// OpenTUN opens a TUN device, made where it is missing, for packets with a
// virtio header (which is how the kernel hands over what it has not segmented
// yet). The device outlives the file: without a reader it loses what is sent
// to it, and its addresses, routes and the devices on top of it stay. It fails
// with ErrNoTUN where the kernel cannot.
func (h *Handle) OpenTUN(name string) (*os.File, error) {
	var file *os.File
	err := h.inside(func() (err error) {
		file, err = openTUN(name)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("open TUN device %s: %w: %w", name, ErrNoTUN, err)
	case err != nil:
		return nil, fmt.Errorf("open TUN device %s: %w", name, err)
	}
	return file, nil
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}
