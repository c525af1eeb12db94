// Package netdev makes and changes network devices, addresses, routes,
// neighbours and forwarding entries by rtnetlink.
//
// There are two ways to the kernel, both bound to one network namespace when
// they are opened. On the path of an Add or Del a Conn does what a Batch has
// collected, in one system call, and tells only what is needed there. A Handle
// is for everything else, one change at a time, by the netlink library. No
// method enters a namespace, except for sysctls, which have no other way.
package netdev

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
	"github.com/berth-net/berth/netns"
)

// ErrNotFound says that a device, address or route is not there. It satisfies
// errors.Is(err, fs.ErrNotExist) too.
var ErrNotFound = fmt.Errorf("not found: %w", fs.ErrNotExist)

// attempts bounds the repeats of a dump that the kernel interrupted because
// the host's devices changed meanwhile.
const attempts = 10

// Handle is an open rtnetlink socket in one namespace. It is for one
// goroutine at a time.
type Handle struct {
	nl   *netlink.Handle
	ns   *netns.Handle // nil: the thread's own
	sock *nlsock.Conn  // for what the library has no method for; nil until it is needed
}

// Here opens a handle in the calling thread's namespace.
func Here() (*Handle, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return &Handle{nl: nl}, nil
}

// In opens a handle in ns, which must outlive it.
func In(ns *netns.Handle) (*Handle, error) {
	nl, err := netlink.NewHandleAt(vns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink in netns %s: %w", ns.Path(), err)
	}
	return &Handle{nl: nl, ns: ns}, nil
}

// Close closes the socket, not the namespace.
func (h *Handle) Close() {
	h.nl.Close()
	if h.sock != nil {
		h.sock.Close()
	}
}

// socket is the handle's own, opened when it is first asked for.
func (h *Handle) socket() (*nlsock.Conn, error) {
	if h.sock != nil {
		return h.sock, nil
	}
	err := h.inside(func() (err error) {
		h.sock, err = nlsock.Open(unix.NETLINK_ROUTE)
		return err
	})
	return h.sock, err
}

// Do carries a batch out, as Conn.Do does.
func (h *Handle) Do(b *Batch) error {
	sock, err := h.socket()
	if err != nil {
		return err
	}
	return (&Conn{sock}).Do(b)
}

// inside runs fn in the handle's namespace, for what is not netlink.
func (h *Handle) inside(fn func() error) error {
	if h.ns == nil {
		return fn()
	}
	return h.ns.Do(fn)
}

// retry repeats a dump that was interrupted (NLM_F_DUMP_INTR, EINTR).
func retry[T any](dump func() (T, error)) (result T, err error) {
	for range attempts {
		result, err = dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return result, err
		}
	}
	return result, err
}

// missing tells the errors by which the kernel and the library say that an
// object is not there.
func missing(err error) bool {
	var noLink netlink.LinkNotFoundError
	return errors.As(err, &noLink) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) ||
		errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL)
}
