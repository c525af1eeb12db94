// Package dhcp is the agent's DHCP client: it gets leases for containers'
// devices, renews them while the container lives, and releases them.
//
// It holds no namespace open: a container that ends takes its namespace with
// it, and the lease is forgotten at the next renewal. Leases are recorded in
// the state of this boot, so the agent may be killed and started again.
package dhcp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
	contract "github.com/berth-net/berth/plugins/dhcp"
	"github.com/berth-net/berth/state"
)

// maxAsk bounds what a client may write, and talk how long it may take to.
const (
	maxAsk = 64 << 10
	talk   = 5 * time.Second
)

// Server answers the plugin dhcp, ours and upstream's. Store and Log are
// required.
type Server struct {
	Store *state.Store // where leases are recorded
	Log   *slog.Logger

	// Report is told what somebody should know of: a lost address, a damaged
	// record. Nil: only the log is.
	Report func(what string, err error)

	// Moved is told that a container has another address than before, or none
	// (an invalid one). May be nil.
	Moved func(k endpoint.Key, from, to netip.Prefix)

	// RenewWithin is after how long at the latest a lease is renewed; zero is
	// when its server says so (T1).
	RenewWithin time.Duration

	mu     sync.Mutex
	leases map[endpoint.Key]*lease
}

func keyOf(ask contract.Ask) endpoint.Key {
	return endpoint.Key{Network: ask.Network, ContainerID: ask.ContainerID, IfName: ask.IfName}
}

// report tells of err, which may be nil.
func (s *Server) report(what string, err error) {
	if err == nil {
		return
	}
	if s.Report != nil {
		s.Report(what, err)
		return
	}
	s.Log.Error(what, "err", err)
}

// Serve answers on the listeners until ctx ends, and closes them. Then nothing
// is renewed any more, and nothing released: the containers live on, and the
// next Server of this boot goes on with their leases.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	defer s.stop()
	if err := s.restore(ctx); err != nil {
		s.report("restore DHCP leases", err)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(listeners))
	for i, l := range listeners {
		stop := context.AfterFunc(ctx, func() { l.Close() })
		wg.Go(func() {
			defer stop()
			defer l.Close()
			errs[i] = s.accept(ctx, l)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// accept serves connections until the listener is closed.
func (s *Server) accept(ctx context.Context, l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		conns.Go(func() {
			defer conn.Close()
			s.converse(ctx, conn)
		})
	}
}

// stop waits for the end of all renewals.
func (s *Server) stop() {
	s.mu.Lock()
	leases := slices.Collect(maps.Values(s.leases))
	s.mu.Unlock()
	for _, l := range leases {
		l.stop()
	}
}

// ErrTaken says that somebody answers on a socket already.
var ErrTaken = errors.New("another daemon answers there")

// Listen makes a unix socket for Serve, in place of one that nobody answers
// on.
func Listen(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: %w", socket, ErrTaken)
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
	conn.SetDeadline(time.Now().Add(talk))
	in := bufio.NewReader(conn)
	if first, err := in.Peek(1); err == nil && first[0] != '{' {
		s.converseRPC(ctx, conn, in)
		return
	}
	var ask contract.Ask
	err := json.NewDecoder(io.LimitReader(in, maxAsk)).Decode(&ask)
	answer := new(contract.Answer)
	if err == nil {
		answer, err = s.answer(ctx, ask)
	}
	if err != nil {
		s.Log.Warn("dhcp request failed", "verb", ask.Verb, "network", ask.Network, "container", ask.ContainerID, "error", err)
		answer = &contract.Answer{Code: plugins.CodeInternal, Error: err.Error()}
		var coded *plugins.Error
		if errors.As(err, &coded) {
			answer.Code = coded.Code
		}
	}
	conn.SetDeadline(time.Now().Add(talk))
	if err := json.NewEncoder(conn).Encode(answer); err != nil {
		s.Log.Warn("dhcp answer not delivered", "container", ask.ContainerID, "error", err)
	}
}

func (s *Server) answer(ctx context.Context, ask contract.Ask) (*contract.Answer, error) {
	if ask.Verb == "STATUS" {
		return new(contract.Answer), nil
	}
	if err := ask.Validate(); err != nil {
		return nil, plugins.Errorf(plugins.CodeInvalidEnvironment, "dhcp: %w", err)
	}
	k := keyOf(ask)
	switch ask.Verb {
	case "ADD":
		return s.add(ctx, ask)
	case "CHECK":
		if l := s.lease(k); l == nil || !l.alive() {
			return nil, plugins.Errorf(plugins.CodeUnknownContainer, "check %s/%s: it has no lease", ask.ContainerID, ask.IfName)
		}
		return new(contract.Answer), nil
	case "DEL":
		if l := s.take(k); l != nil {
			l.end(ctx)
		}
		return new(contract.Answer), s.erase(k)
	}
	return nil, plugins.Errorf(plugins.CodeInvalidEnvironment, "verb %q is none of ADD, CHECK, DEL and STATUS", ask.Verb)
}

// add replaces an older lease of the attachment, which a container that was
// started again has left. The lease is on record before the answer goes out.
func (s *Server) add(ctx context.Context, ask contract.Ask) (*contract.Answer, error) {
	if old := s.take(keyOf(ask)); old != nil {
		old.stop()
	}
	l, err := s.acquire(ctx, ask)
	if err != nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "dhcp: lease for %s/%s: %w", ask.ContainerID, ask.IfName, err)
	}
	s.start(ctx, l)
	return l.answer(), nil
}

func (s *Server) acquire(ctx context.Context, ask contract.Ask) (*lease, error) {
	where, err := newPlace(ask.NetNS, ask.IfName)
	if err != nil {
		return nil, err
	}
	l := s.newLease(ask, where)
	if err := l.acquire(ctx); err != nil {
		return nil, err
	}
	if err := l.save(); err != nil {
		l.release(context.WithoutCancel(ctx))
		return nil, err
	}
	return l, nil
}

// start keeps the lease, in place of another of the same attachment.
func (s *Server) start(ctx context.Context, l *lease) {
	s.mu.Lock()
	if s.leases == nil {
		s.leases = make(map[endpoint.Key]*lease)
	}
	other := s.leases[l.key]
	s.leases[l.key] = l
	l.keep(ctx, func() { s.forget(l) })
	s.mu.Unlock()
	if other != nil {
		other.stop()
	}
}

func (s *Server) lease(k endpoint.Key) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[k]
}

func (s *Server) take(k endpoint.Key) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[k]
	delete(s.leases, k)
	return l
}

func (s *Server) forget(l *lease) {
	s.mu.Lock()
	current := s.leases[l.key] == l
	if current {
		delete(s.leases, l.key)
	}
	s.mu.Unlock()
	if current {
		s.report("erase DHCP lease", s.erase(l.key))
	}
}
