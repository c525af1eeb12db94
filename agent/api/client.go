package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
	"time"

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
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", Socket(store))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, &plugins.Error{Code: plugins.CodeTryAgain, Err: ErrNoAgent}
	}
	if err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "connect to the agent: %w", err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("talk to the agent: %w", err)
	}
	return exchange(conn, req)
}

func exchange(conn net.Conn, req Request) (*Answer, error) {
	req.Version = Version
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "ask the agent: %w", err)
	}
	answer := new(Answer)
	if err := json.NewDecoder(conn).Decode(answer); err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "read the agent's answer: %w", err)
	}
	if answer.Error != nil {
		return nil, &plugins.Error{Code: plugins.Code(answer.Error.Code), Err: errors.New(answer.Error.Message)}
	}
	return answer, nil
}
