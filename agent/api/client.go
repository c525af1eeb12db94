package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// ErrNoAgent says that no agent runs on this host.
var ErrNoAgent = errors.New("no agent answers on this host; start it with: berth agent")

// timeout bounds a request whose caller has no deadline. The agent itself
// gives up on etcd earlier.
const timeout = 30 * time.Second

// Socket is the path of the agent's socket: in the file system, because an
// abstract one is open to every container that shares the host's network
// (CVE-2020-15257).
func Socket(store *state.Store) string { return filepath.Join(store.Dir(), "agent.sock") }

// Call sends a request on a connection of its own and waits for the answer. It
// fails with ErrNoAgent, or with what the agent says, coded as plugins.Error.
func Call(ctx context.Context, store *state.Store, req Request) (*Answer, error) {
	c, err := Dial(ctx, store)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Call(req)
}

// Conn is a connection to the agent, which answers its requests one after the
// other, in order. A request is sent without waiting for the answers of those
// before it: the agent works while its client does. It is for one goroutine.
// Clients are plugins, which end after it: what they say they encode by
// coldjson. The agent meets the same types all the time.
type Conn struct {
	file    *os.File
	answers *bufio.Reader
}

// Dial connects. It fails with ErrNoAgent.
func Dial(ctx context.Context, store *state.Store) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	file, err := dial(ctx, Socket(store))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, &plugins.Error{Code: plugins.CodeTryAgain, Err: ErrNoAgent}
	}
	if err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "connect to the agent: %w", err)
	}
	return &Conn{file, bufio.NewReader(file)}, nil
}

// Call sends a request and waits for the answer. Those of earlier requests
// have been read.
func (c *Conn) Call(req Request) (*Answer, error) {
	if err := c.Send(req); err != nil {
		return nil, err
	}
	return c.Answer()
}

// Send sends a request.
func (c *Conn) Send(req Request) error {
	req.Version = Version
	raw, err := coldjson.Marshal(req)
	if err == nil {
		_, err = c.file.Write(append(raw, '\n'))
	}
	if err != nil {
		return plugins.Errorf(plugins.CodeTryAgain, "ask the agent: %w", expired(err))
	}
	return nil
}

// Answer waits for the next answer. It fails with what the agent says, coded
// as plugins.Error.
func (c *Conn) Answer() (*Answer, error) {
	answer := new(Answer)
	raw, err := c.answers.ReadBytes('\n')
	if err == nil {
		err = coldjson.Unmarshal(raw, answer)
	}
	if err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "read the agent's answer: %w", expired(err))
	}
	if answer.Error != nil {
		return nil, &plugins.Error{Code: plugins.Code(answer.Error.Code), Err: errors.New(answer.Error.Message)}
	}
	return answer, nil
}

// Alive tells whether the agent that was connected to still runs, where no
// answer is due. Another that follows it begins with the records as they are
// when this says no, or later.
func (c *Conn) Alive() bool {
	_, _, err := unix.Recvfrom(int(c.file.Fd()), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == unix.EAGAIN
}

// Close ends the connection. The agent does what it was asked all the same.
func (c *Conn) Close() error { return c.file.Close() }

// dial connects a socket that blocks, each time until the context's deadline
// is as far off as it is now. A net.Conn waits by way of the runtime's poller,
// which takes two more threads to wake a plugin's goroutine: it is bound to its
// own.
func dial(ctx context.Context, path string) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	wait := unix.NsecToTimeval(max(time.Until(deadline), time.Millisecond).Nanoseconds()) // zero would be forever
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	for _, direction := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err == nil {
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, direction, &wait)
		}
	}
	if err == nil {
		err = connect(fd, path)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", path, expired(err))
	}
	return os.NewFile(uintptr(fd), path), nil
}

func connect(fd int, path string) error {
	for {
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.EINTR {
			return err
		}
	}
}

// expired names the error by which the kernel says that a socket has waited
// long enough.
func expired(err error) error {
	if errors.Is(err, unix.EAGAIN) {
		return os.ErrDeadlineExceeded
	}
	return err
}
