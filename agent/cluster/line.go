package cluster

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
)

// line makes the connections to etcd, and can end them. One from an address
// that the host has lost gets no answer any more, and gRPC would find out only
// by its keepalive.
type line struct {
	connect func(ctx context.Context, network, address string) (net.Conn, error)
	again   func() // called when a server has been connected to once more

	mu    sync.Mutex
	open  []net.Conn
	known map[string]bool // servers
	times int             // that again was called
}

func (l *line) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := l.connect(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.open = append(slices.DeleteFunc(l.open, isClosed), conn)
	again := l.known[address]
	if again {
		l.times++
	}
	l.known[address] = true
	l.mu.Unlock()
	if again {
		l.again()
	}
	return conn, nil
}

// count is how often a server has been connected to once more.
func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.times
}

func isClosed(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := s.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}

// hangUp ends all connections; gRPC makes new ones at once.
func (l *line) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		_ = c.Close()
	}
	l.open = nil
}
