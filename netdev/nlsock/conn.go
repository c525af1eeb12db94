// Package nlsock hands a batch of netlink requests to the kernel in one
// system call, and reads the answers.
//
// rtnetlink and nfnetlink work through everything that one sendmsg brings
// before it returns, in order, and have queued every answer by then. So there
// is no waiting and no poller: what is not there after the send will not come.
package nlsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Conn is a netlink socket of one family in one network namespace, for one
// goroutine at a time.
type Conn struct {
	fd  int
	seq uint32
	buf []byte
}

// receiveBuffer holds the largest datagram of a dump (NLMSG_GOODSIZE is at
// most 32 KiB where the reader offers that much).
const receiveBuffer = 32 << 10

// Open opens a socket in the calling thread's network namespace. Family is a
// NETLINK_ constant.
func Open(family int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket of family %d: %w", family, err)
	}
	// Extended acknowledgements carry the kernel's own words; kernels before
	// 4.12 have none. Without CAP_ACK each error would repeat its request.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &Conn{fd: fd}, nil
}

// Strict makes the kernel honour the filters of dump requests, so that a dump
// of one device's addresses does not walk them all (since Linux 4.20).
func (c *Conn) Strict() error {
	return unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Error is a request that the kernel refused.
type Error struct {
	What    string // as given to Batch.Message
	Index   int    // of the message in the batch
	Errno   unix.Errno
	Message string // the kernel's extended acknowledgement, often empty
}

func (e *Error) Error() string {
	if e.Message != "" {
		return fmt.Sprintf("%s: %v (%s)", e.What, e.Errno, e.Message)
	}
	return fmt.Sprintf("%s: %v", e.What, e.Errno)
}

func (e *Error) Unwrap() error { return e.Errno }

// Is reports EEXIST, ENOENT and EPERM as io/fs's errors too, as Errno does.
func (e *Error) Is(target error) bool { return e.Errno.Is(target) }

// ErrInterrupted says that what was dumped changed meanwhile (NLM_F_DUMP_INTR).
var ErrInterrupted = errors.New("netlink dump interrupted")

// Do sends the batch and returns the requests that failed, in order; none is
// success. A request's answers, where it asks for some, go to reply with the
// message's type and its payload, which is only valid during the call.
//
// The error is that of the socket itself; with ENOBUFS the answers were more
// than its buffer holds, and the first of them have been handled. Every
// message is carried out whether or not one before it failed, except in an
// nfnetlink batch, which is all or nothing.
func (c *Conn) Do(b *Batch, reply func(index int, typ uint16, payload []byte)) (failed []*Error, err error) {
	if b.Len() == 0 {
		return nil, nil
	}
	b.close()
	first := c.seq + 1
	c.number(b)
	if err := c.send(b.buf); err != nil {
		return nil, fmt.Errorf("%s: send: %w", b.whats[0], err)
	}
	if c.buf == nil {
		c.buf = make([]byte, receiveBuffer)
	}
	var lost error
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			return failed, lost
		case err == unix.ENOBUFS: // the first answers are there, later ones are lost
			lost = fmt.Errorf("%s: receive: %w", b.whats[0], err)
			continue
		case err == unix.EINTR:
			continue
		case err != nil:
			return failed, fmt.Errorf("%s: receive: %w", b.whats[0], err)
		}
		more, err := c.parse(c.buf[:n], b, first, reply)
		failed = append(failed, more...)
		if err != nil {
			return failed, err
		}
	}
}

// number gives each message its sequence number.
func (c *Conn) number(b *Batch) {
	for off := 0; off+headerLen <= len(b.buf); {
		c.seq++
		binary.NativeEndian.PutUint32(b.buf[off+8:], c.seq)
		off += (int(binary.NativeEndian.Uint32(b.buf[off:])) + 3) &^ 3
	}
}

func (c *Conn) send(buf []byte) error {
	for {
		err := unix.Sendto(c.fd, buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		switch {
		case err == unix.EINTR:
		case err == unix.EMSGSIZE && c.growSend(len(buf)):
		default:
			runtime.KeepAlive(buf)
			return err
		}
	}
}

// growSend makes room for a batch larger than the socket's buffer, once.
func (c *Conn) growSend(size int) bool {
	have, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil || have > 4*size {
		return false
	}
	return unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4*size) == nil
}

func (c *Conn) parse(data []byte, b *Batch, first uint32, reply func(int, uint16, []byte)) (failed []*Error, err error) {
	for len(data) >= headerLen {
		length := int(binary.NativeEndian.Uint32(data))
		if length < headerLen || length > len(data) {
			return failed, fmt.Errorf("%s: malformed answer", b.whats[0])
		}
		typ, flags := binary.NativeEndian.Uint16(data[4:]), binary.NativeEndian.Uint16(data[6:])
		index := int(binary.NativeEndian.Uint32(data[8:]) - first)
		payload := data[headerLen:length]
		data = data[min(len(data), (length+3)&^3):]
		if index < 0 || index >= b.Len() {
			continue
		}
		switch {
		case flags&unix.NLM_F_DUMP_INTR != 0:
			return failed, fmt.Errorf("%s: %w", b.whats[index], ErrInterrupted)
		case typ == unix.NLMSG_ERROR:
			if e := decodeError(payload, flags); e != nil {
				e.Index, e.What = index, b.whats[index]
				failed = append(failed, e)
			}
		case typ != unix.NLMSG_DONE && reply != nil:
			reply(index, typ, payload)
		}
	}
	return failed, nil
}

// decodeError reads struct nlmsgerr and the attributes behind it; nil for an
// acknowledgement.
func decodeError(payload []byte, flags uint16) *Error {
	if len(payload) < 4 {
		return nil
	}
	errno := -int32(binary.NativeEndian.Uint32(payload))
	if errno == 0 {
		return nil
	}
	e := &Error{Errno: unix.Errno(errno)}
	if flags&unix.NLM_F_ACK_TLVS != 0 {
		rest := 4 + headerLen
		if flags&unix.NLM_F_CAPPED == 0 && len(payload) >= rest {
			rest = 4 + (int(binary.NativeEndian.Uint32(payload[4:]))+3)&^3
		}
		if rest <= len(payload) {
			Attrs(payload[rest:], func(typ uint16, value []byte) {
				if typ == unix.NLMSGERR_ATTR_MSG && len(value) > 0 {
					e.Message = string(value[:len(value)-1])
				}
			})
		}
	}
	return e
}
