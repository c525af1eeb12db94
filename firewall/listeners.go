package firewall

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/plugins"
)

// CheckListeners fails with ErrPortTaken where a process of the host has a
// socket on a port that is to be published, and names the process. It asks
// the kernel by binding a socket for an instant, which costs the same on a
// host with a thousand listeners.
func CheckListeners(ports []plugins.PortMapping) error {
	for i := range ports {
		m := &ports[i]
		for j := range count(m) {
			if err := checkListener(m, m.HostPort+j); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkListener(m *plugins.PortMapping, port uint16) error {
	for _, addr := range bindAddresses(m) {
		err := tryBind(m.Protocol, addr, port)
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			return plugins.Errorf(plugins.CodeTryAgain, "publish port %s: %w by %s", hostPort(m, port), ErrPortTaken, listener(m.Protocol, addr, port))
		case errors.Is(err, unix.EADDRNOTAVAIL) && m.HostIP.IsValid() && !m.HostIP.IsUnspecified():
			return plugins.Errorf(plugins.CodeInvalidConfig, "portMappings: hostIP %s is no address of this host; leave it away to publish on all of them", m.HostIP)
		}
		// Whatever else a host forbids to bind is no listener.
	}
	return nil
}

func bindAddresses(m *plugins.PortMapping) []netip.Addr {
	if m.HostIP.IsValid() {
		return []netip.Addr{m.HostIP}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

func tryBind(protocol string, addr netip.Addr, port uint16) error {
	kind, proto := unix.SOCK_STREAM, int(protocols[protocol])
	if protocol == "udp" {
		kind = unix.SOCK_DGRAM
	}
	domain, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(port), Addr: addr.As16()})
	if addr.Is4() {
		domain, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: addr.As4()}
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if domain == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if protocol != "udp" {
		// Connections of a server that has ended do not count.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	return unix.Bind(fd, sa)
}
