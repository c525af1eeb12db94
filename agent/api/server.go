package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// ErrRunning says that another agent serves this host.
var ErrRunning = errors.New("another agent runs on this host")

// maxRequest bounds what a client may send: a conflist and some names.
const maxRequest = 1 << 20

// Listen opens the socket, for root only, in place of one that a killed agent
// left. A lock beside it tells that from a living one: it fails with
// ErrRunning. The lock lasts until the process ends.
func Listen(store *state.Store) (net.Listener, error) {
	if err := os.MkdirAll(store.Dir(), 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	fd, err := unix.Open(filepath.Join(store.Dir(), "agent.lock"), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock agent: %w", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock agent: %w", ErrRunning)
	}
	path := Socket(store)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old agent socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open agent socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect agent socket: %w", err), l.Close())
	}
	return l, nil
}

// Handler answers one request. The error becomes the answer's.
type Handler func(ctx context.Context, req *Request) (*Answer, error)

// Serve answers until l is closed.
func Serve(ctx context.Context, l net.Listener, handle Handler) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on agent socket: %w", err)
		}
		go func() {
			defer conn.Close()
			serveOne(ctx, conn, handle)
		}()
	}
}

// serveOne answers a client's requests in turn until it hangs up. What it asks
// next it may ask late: an ADD is as slow as the plugins that it calls.
func serveOne(ctx context.Context, conn net.Conn, handle Handler) {
	in := &io.LimitedReader{R: conn}
	requests, answers := json.NewDecoder(in), json.NewEncoder(conn)
	for {
		in.N = maxRequest
		req := new(Request)
		err := requests.Decode(req)
		if errors.Is(err, io.EOF) {
			return
		}
		answer := answerOne(ctx, req, err, handle)
		if conn.SetWriteDeadline(time.Now().Add(timeout)) != nil || answers.Encode(answer) != nil || err != nil {
			return
		}
	}
}

// answerOne answers a request, or what was none.
func answerOne(ctx context.Context, req *Request, err error, handle Handler) *Answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := new(Answer)
	switch {
	case err != nil:
		err = plugins.Errorf(plugins.CodeDecode, "decode request: %w", err)
	case req.Version != Version:
		err = plugins.Errorf(plugins.CodeIncompatibleVersion, "request version %d, the agent speaks %d: restart it after an upgrade", req.Version, Version)
	default:
		answer, err = handle(ctx, req)
	}
	if err != nil {
		return &Answer{Error: &Error{Code: uint(codeOf(err)), Message: err.Error()}}
	}
	return answer
}

func codeOf(err error) plugins.Code {
	var coded *plugins.Error
	if errors.As(err, &coded) {
		return coded.Code
	}
	return plugins.CodeInternal
}
