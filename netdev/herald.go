package netdev

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Herald tells the ports of a bridge of machines that are elsewhere. Its
// packet socket is kept open, because the kernel takes milliseconds to close
// one (synchronize_net). It is for one goroutine at a time.
type Herald struct{ fd int }

// NewHerald opens a Herald in the calling thread's network namespace. It
// receives nothing (protocol 0).
func NewHerald() (*Herald, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return &Herald{fd}, nil
}

// Close closes the socket.
func (h *Herald) Close() error { return unix.Close(h.fd) }

// Announce says on all ports of a bridge, as the machine itself would, that
// addr is at mac. A neighbour that is just asking for it has its answer
// (INCOMPLETE becomes STALE, net/ipv4/arp.c and net/ipv6/ndisc.c), and one
// that knew the address by another MAC has the new one. Who does not know the
// address takes no notice. A bridge keeps it from its ports that have
// neigh_suppress (br_do_proxy_suppress_arp) or do not flood.
func (h *Herald) Announce(bridge int, addr netip.Addr, mac net.HardwareAddr) error {
	if len(mac) != etherAddrLen {
		return fmt.Errorf("announce %s: MAC %q has not six bytes", addr, mac)
	}
	err := unix.Sendto(h.fd, announcement(mac, addr), 0, &unix.SockaddrLinklayer{Ifindex: bridge})
	if err != nil && !lost(err) {
		return fmt.Errorf("announce %s: send frame: %w", addr, err)
	}
	return nil
}
