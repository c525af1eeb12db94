package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

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

// Call sends a request and waits for the answer. It fails with ErrNoAgent, or
// with what the agent says, coded as plugins.Error.
func Call(ctx context.Context, store *state.Store, req Request) (*Answer, error) {
	p, err := Send(ctx, store, req)
	if err != nil {
		return nil, err
	}
	return p.Answer()
}

// Pending is a request that was sent, whose answer has yet to be read.
type Pending struct{ conn *os.File }

// Send sends a request and does not wait for the answer: the agent works while
// its caller does. It fails with ErrNoAgent.
func Send(ctx context.Context, store *state.Store, req Request) (*Pending, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(ctx, Socket(store))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, &plugins.Error{Code: plugins.CodeTryAgain, Err: ErrNoAgent}
	}
	if err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "connect to the agent: %w", err)
	}
	req.Version = Version
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		conn.Close()
		return nil, plugins.Errorf(plugins.CodeTryAgain, "ask the agent: %w", expired(err))
	}
	return &Pending{conn}, nil
}

// Answer waits for the answer, once. It fails with what the agent says, coded
// as plugins.Error.
func (p *Pending) Answer() (*Answer, error) {
	defer p.conn.Close()
	answer := new(Answer)
	if err := json.NewDecoder(p.conn).Decode(answer); err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "read the agent's answer: %w", expired(err))
	}
	if answer.Error != nil {
		return nil, &plugins.Error{Code: plugins.Code(answer.Error.Code), Err: errors.New(answer.Error.Message)}
	}
	return answer, nil
}

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
