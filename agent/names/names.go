// Package names opens a resolver in the namespaces of containers that other
// runtimes run. Those of berth's own have one from their supervisors.
package names

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// Options say what a Service does.
type Options struct {
	Store     *state.Store
	Elsewhere dns.Elsewhere  // names of other hosts; nil: none
	Host      netip.AddrPort // where the host itself may ask; zero: nowhere
	Log       *slog.Logger
}

// Service has a Listener in each namespace that is on a network whose
// configuration says "names": true.
type Service struct {
	Options
	resolver *dns.Resolver

	mu   sync.Mutex
	open map[netns.ID]*dns.Listener // nil: taken by somebody else
}

// New makes a Service. It touches nothing.
func New(o Options) *Service {
	options := dns.Options{Store: o.Store, Elsewhere: o.Elsewhere, Log: o.Log}
	if o.Host.IsValid() {
		options.Own = []netip.AddrPort{o.Host}
	}
	return &Service{Options: o, resolver: dns.New(options), open: map[netns.ID]*dns.Listener{}}
}

// look is how often a namespace is looked at whose container may have died
// without a DEL: an open socket keeps it alive.
const look = 5 * time.Second

// settle is how long after a change of the records further ones are waited for:
// an ADD writes twice, and holds a lock of the records that a look at them would
// have it wait for. Who cannot wait calls Serve.
const settle = 100 * time.Millisecond

// Run opens and closes Listeners as containers come and go, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	host, err := s.openHost()
	if err != nil {
		return err
	}
	if host != nil {
		defer host.Close()
	}
	defer s.closeAll()
	changed, watched := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		watched <- s.Store.Watch(ctx, settle, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if err := s.sync(); err != nil {
			s.Log.Error("serve names", "err", err)
		}
		select {
		case <-changed:
		case <-tick.C:
			s.forgetTaken()
		case err := <-watched:
			return err
		}
	}
}

// openHost listens for the host itself.
func (s *Service) openHost() (*dns.Listener, error) {
	if !s.Host.IsValid() {
		return nil, nil
	}
	own, err := netns.Current()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	return s.resolver.Listen(dns.Client{NetNS: own, Host: true}, s.Host, dns.Alone)
}

// sync makes the Listeners those that the records ask for, past errors.
func (s *Service) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted, err := s.wanted()
	if err != nil {
		return err
	}
	var errs []error
	for id, l := range s.open {
		if _, stays := wanted[id]; !stays {
			errs = append(errs, closeOne(l))
			delete(s.open, id)
		}
	}
	for id, path := range wanted {
		if _, done := s.open[id]; done {
			continue
		}
		l, err := s.listen(id, path)
		if err != nil && !errors.Is(err, dns.ErrTaken) {
			errs = append(errs, err)
			continue
		}
		s.open[id] = l
	}
	return errors.Join(errs...)
}

// wanted are the namespaces to serve, with their paths. A container that is a
// nameserver itself, or shares the host's namespace, is left alone.
func (s *Service) wanted() (map[netns.ID]string, error) {
	all, err := s.resolver.Endpoints()
	if err != nil {
		return nil, err
	}
	wanted, servers := map[netns.ID]string{}, map[netns.ID]bool{}
	for _, e := range all {
		servers[e.NetNSID] = servers[e.NetNSID] || e.Server || e.Driver == "host"
		if e.Served && e.Alive() {
			wanted[e.NetNSID] = e.NetNS
		}
	}
	for id, is := range servers {
		if is {
			delete(wanted, id)
		}
	}
	return wanted, nil
}

func (s *Service) listen(id netns.ID, path string) (*dns.Listener, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if now, err := ns.ID(); err != nil || now != id {
		return nil, fmt.Errorf("open resolver in netns %s: another namespace has its path: %w", path, dns.ErrTaken)
	}
	return s.resolver.Listen(dns.Client{NetNS: ns}, dns.Address, dns.Alone)
}

// forgetTaken has namespaces tried again in which somebody else had the port.
func (s *Service) forgetTaken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.open {
		if l == nil {
			delete(s.open, id)
		}
	}
}

func (s *Service) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.open {
		if err := closeOne(l); err != nil {
			s.Log.Error("close resolver", "err", err)
		}
		delete(s.open, id)
	}
}

func closeOne(l *dns.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// ErrNotServed says that no resolver is opened for an endpoint.
var ErrNotServed = errors.New("no resolver is opened for it")

// Serve opens the resolver of an endpoint that has just been made, and returns
// what its container's resolv.conf should say. Errors: ErrNotServed.
func (s *Service) Serve(key endpoint.Key) (*plugins.DNS, error) {
	if err := s.sync(); err != nil {
		return nil, err
	}
	all, err := s.resolver.Endpoints()
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.Key == key && s.listens(e.NetNSID) {
			return s.settings(e)
		}
	}
	return nil, fmt.Errorf("resolve names for %s: %w", key, ErrNotServed)
}

func (s *Service) listens(id netns.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[id] != nil
}

func (s *Service) settings(e *dns.Endpoint) (*plugins.DNS, error) {
	ns, err := netns.Open(e.NetNS)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	effective, err := s.resolver.Effective(dns.Client{NetNS: ns})
	if err != nil {
		return nil, err
	}
	effective.Nameservers = []string{dns.Address.Addr().String()}
	return &effective, nil
}

// Status is how the Service does.
type Status struct {
	Containers int
	dns.Counts
}

// Status counts what is open, and what was asked.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Counts: s.resolver.Counts()}
	for _, l := range s.open {
		if l != nil {
			st.Containers++
		}
	}
	return st
}
