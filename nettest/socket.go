package nettest

import (
	"context"
	"net"
	"time"
)

// askTimeout bounds a question to a host: in a test everything is near, so
// silence this long is an answer.
const askTimeout = 3 * time.Second

// Dial connects from inside the host, as net.Dialer.DialContext does. The
// address must be literal: a name would be resolved outside. The time is
// bounded here besides: net/http goes on connecting after a request was given
// up.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.Do(func() error {
		conn, err = (&net.Dialer{Timeout: askTimeout}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens for connections inside the host until the test ends. Port 0
// chooses one.
func (h *Host) Listen(network, address string) net.Listener {
	h.t.Helper()
	var l net.Listener
	err := h.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(h.context(), network, address)
		return err
	})
	if err != nil {
		h.t.Fatalf("%s: listen on %s %s: %v", h.Name, network, address, err)
	}
	h.t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket opens a datagram socket inside the host until the test ends.
func (h *Host) ListenPacket(network, address string) net.PacketConn {
	h.t.Helper()
	var c net.PacketConn
	err := h.Do(func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(h.context(), network, address)
		return err
	})
	if err != nil {
		h.t.Fatalf("%s: listen on %s %s: %v", h.Name, network, address, err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}
