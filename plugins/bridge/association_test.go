package bridge_test

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// A real association by a published port, in which the client is seen with its
// own address and an answer comes back.
func TestPublishedSCTPCarriesTraffic(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.SCTP)
	for _, backend := range backends(t) {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.host.NewContainer("c1")
			r := w.add(request(c, "front", config(1, fmt.Sprintf(`"ipMasq":true,"firewallBackend":%q,`, backend)),
				plugins.PortMapping{HostPort: 9000, ContainerPort: 7000, Protocol: "sctp"}))
			for _, path := range []struct{ host, client, server string }{
				{"192.0.2.1", "192.0.2.2", address(r, true)},
				{"2001:db8::1", "2001:db8::2", address(r, false)},
			} {
				server := openSCTP(t, c.Host, path.server)
				if err := unix.Bind(server, sockaddr(path.server, 7000)); err != nil {
					t.Fatal(err)
				}
				if err := unix.Listen(server, 1); err != nil {
					t.Fatal(err)
				}
				client := openSCTP(t, w.lan, path.host)
				if err := unix.Connect(client, sockaddr(path.host, 9000)); err != nil {
					t.Fatalf("associate with %s: %v", path.host, err)
				}
				fd, from, err := unix.Accept(server)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { unix.Close(fd) })
				if seen := addrOf(from); seen != netip.MustParseAddr(path.client) {
					t.Errorf("the client %s is seen as %v", path.client, seen)
				}
				carry(t, client, fd)
				carry(t, fd, client)
			}
		})
	}
}

// carry sends a message over an association.
func carry(t *testing.T, from, to int) {
	t.Helper()
	const message = "a message"
	if _, err := unix.Write(from, []byte(message)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := unix.Read(to, buf); err != nil || string(buf[:n]) != message {
		t.Errorf("%q arrives, %v; want %q", buf[:max(n, 0)], err, message)
	}
}

func sockaddr(host string, port int) unix.Sockaddr {
	a := netip.MustParseAddr(host)
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}

func addrOf(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.Addr{}
}

// openSCTP is a socket of the address's family that gives up after three
// seconds.
func openSCTP(t *testing.T, h *nettest.Host, address string) (fd int) {
	t.Helper()
	family := unix.AF_INET6
	if netip.MustParseAddr(address).Is4() {
		family = unix.AF_INET
	}
	if err := h.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	patience := unix.Timeval{Sec: 3}
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &patience); err != nil {
			t.Fatal(err)
		}
	}
	return fd
}
