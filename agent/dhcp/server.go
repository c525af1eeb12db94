// Package dhcp is the agent's DHCP client: it gets leases for containers'
// devices, renews them while the container lives, and releases them.
//
// It holds no namespace open: a container that ends takes its namespace with
// it, and the lease is forgotten at the next renewal.
package dhcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/berth-net/berth/plugins"
	contract "github.com/berth-net/berth/plugins/dhcp"
)

// maxAsk bounds what a client may write, and talk how long it may take to.
const (
	maxAsk = 64 << 10
	talk   = 5 * time.Second
)

// Server answers the plugin dhcp. The zero value is not usable.
type Server struct {
	// RenewWithin is after how long at the latest a lease is renewed; zero is
	// when its server says so (T1).
	RenewWithin time.Duration

	log *slog.Logger

	mu     sync.Mutex
	leases map[key]*lease
}

type key struct{ network, container, ifname string }

// NewServer is a server without leases.
func NewServer(log *slog.Logger) *Server {
	return &Server{log: log, leases: make(map[key]*lease)}
}

// ListenAndServe serves on a unix socket, which it makes and removes, until
// ctx ends; then nothing is renewed any more, and nothing released: the
// containers live on, and their leases as long as they last. A socket that
// somebody answers on is an error.
func (s *Server) ListenAndServe(ctx context.Context, socket string) error {
	l, err := listen(socket)
	if err != nil {
		return err
	}
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", socket, err)
		}
		conns.Go(func() {
			defer conn.Close()
			s.converse(ctx, conn)
		})
	}
}

func listen(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: another agent answers there", socket)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (s *Server) converse(ctx context.Context, conn net.Conn) {
	var ask contract.Ask
	conn.SetDeadline(time.Now().Add(talk))
	err := json.NewDecoder(io.LimitReader(conn, maxAsk)).Decode(&ask)
	answer := new(contract.Answer)
	if err == nil {
		answer, err = s.answer(ctx, ask)
	}
	if err != nil {
		s.log.Warn("dhcp request failed", "verb", ask.Verb, "network", ask.Network, "container", ask.ContainerID, "error", err)
		answer = &contract.Answer{Code: plugins.CodeInternal, Error: err.Error()}
		var coded *plugins.Error
		if errors.As(err, &coded) {
			answer.Code = coded.Code
		}
	}
	conn.SetDeadline(time.Now().Add(talk))
	if err := json.NewEncoder(conn).Encode(answer); err != nil {
		s.log.Warn("dhcp answer not delivered", "container", ask.ContainerID, "error", err)
	}
}

func (s *Server) answer(ctx context.Context, ask contract.Ask) (*contract.Answer, error) {
	k := key{ask.Network, ask.ContainerID, ask.IfName}
	switch ask.Verb {
	case "STATUS":
		return new(contract.Answer), nil
	case "ADD":
		return s.add(ctx, k, ask)
	case "CHECK":
		if l := s.lease(k); l == nil || !l.alive() {
			return nil, plugins.Errorf(plugins.CodeUnknownContainer, "check %s/%s: it has no lease", ask.ContainerID, ask.IfName)
		}
		return new(contract.Answer), nil
	case "DEL":
		if l := s.take(k); l != nil {
			l.end(ctx)
		}
		return new(contract.Answer), nil
	}
	return nil, plugins.Errorf(plugins.CodeInvalidEnvironment, "verb %q is none of ADD, CHECK, DEL and STATUS", ask.Verb)
}

// add replaces an older lease of the attachment, which a container that was
// started again has left.
func (s *Server) add(ctx context.Context, k key, ask contract.Ask) (*contract.Answer, error) {
	if old := s.take(k); old != nil {
		old.stop()
	}
	l, err := s.acquire(ctx, ask)
	if err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "dhcp: lease for %s/%s: %w", ask.ContainerID, ask.IfName, err)
	}
	s.mu.Lock()
	other := s.leases[k]
	s.leases[k] = l
	s.mu.Unlock()
	if other != nil {
		other.stop()
	}
	l.keep(ctx, func() { s.forget(k, l) })
	return l.answer(), nil
}

func (s *Server) lease(k key) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[k]
}

func (s *Server) take(k key) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[k]
	delete(s.leases, k)
	return l
}

func (s *Server) forget(k key, l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[k] == l {
		delete(s.leases, k)
	}
}
