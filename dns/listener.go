package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
)

// ErrTaken says that somebody serves port 53 in the namespace already:
// another process of berth's, or the container itself.
var ErrTaken = errors.New("port 53 is taken")

// Limits of one Listener, so that what a container sends costs the host a
// bounded number of goroutines and descriptors (CVE-2024-8418).
const (
	maxQuestions = 512 // being answered at once, by UDP
	maxForwards  = 256 // of them and of those by TCP, at the upstreams
	maxStreams   = 32  // TCP connections
	maxReaders   = 4   // that take questions by UDP, and answer those that wait for nobody
)

// Listener answers the questions of one client.
type Listener struct {
	resolver *Resolver
	id       netns.ID
	path     string
	isHost   bool
	dns      plugins.DNS

	packets   net.PacketConn
	streams   net.Listener
	questions chan struct{} // semaphores
	forwards  chan struct{}
	open      chan struct{}

	end  context.CancelFunc
	wait sync.WaitGroup
}

// Sharing says whether other processes may listen in the same place.
type Sharing bool

const (
	Alone  Sharing = false
	Shared Sharing = true // with every other that is Shared: all give the same answers
)

// Listen opens the client's sockets at an address in its namespace and
// answers what they are asked until Close. Errors: ErrTaken.
func (r *Resolver) Listen(c Client, at netip.AddrPort, sharing Sharing) (*Listener, error) {
	id, err := c.NetNS.ID()
	if err != nil {
		return nil, err
	}
	l := &Listener{
		resolver: r, id: id, path: c.NetNS.Path(), isHost: c.Host, dns: c.DNS,
		questions: make(chan struct{}, maxQuestions), forwards: make(chan struct{}, maxForwards), open: make(chan struct{}, maxStreams),
	}
	// A socket belongs to the namespace in which it was made.
	err = c.NetNS.Do(func() error { return l.bind(at, sharing) })
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		err = fmt.Errorf("%w: its loopback is down; whoever makes the namespace brings it up: ip link set lo up", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open resolver in netns %s: %w", c.NetNS.Path(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.end = cancel
	for range min(runtime.GOMAXPROCS(0), maxReaders) {
		l.wait.Go(func() { l.servePackets(ctx) })
	}
	l.wait.Go(func() { l.serveStreams(ctx) })
	return l, nil
}

func (l *Listener) bind(at netip.AddrPort, sharing Sharing) (err error) {
	conf := net.ListenConfig{Control: sharing.control}
	conf.SetMultipathTCP(false)
	if l.packets, err = conf.ListenPacket(context.Background(), "udp", at.String()); err != nil {
		return taken(err)
	}
	if l.streams, err = conf.Listen(context.Background(), "tcp", at.String()); err != nil {
		return errors.Join(taken(err), l.packets.Close())
	}
	return nil
}

func taken(err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%w: %w", ErrTaken, err)
	}
	return err
}

// control sets SO_REUSEPORT, with which the kernel deals clients out to all
// sockets of one user at an address, and passes over one whose process died.
func (s Sharing) control(_, _ string, conn syscall.RawConn) error {
	if !s {
		return nil
	}
	var err error
	return errors.Join(conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}), err)
}

// Close gives the sockets up and returns when nothing of the Listener is left
// running. As long as a socket is open its namespace lives.
func (l *Listener) Close() error {
	l.end()
	err := errors.Join(l.packets.Close(), l.streams.Close())
	l.wait.Wait()
	return err
}
