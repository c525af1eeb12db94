package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	contract "github.com/berth-net/berth/plugins/dhcp"
)

// errRefused says that the server takes the address back: DHCPNAK, or a reply
// without the address.
var errRefused = errors.New("the server refuses the address")

// A message is repeated after tryFor, then after twice that and so on. An Add
// asks for acquireWithin at most where no server answers.
const (
	tryFor        = 800 * time.Millisecond
	tries         = 4
	acquireWithin = 12 * time.Second
)

// Where there is no lease, it is asked for again after a second, and then
// ever less often, up to about once a minute (RFC 2131 section 4.1).
const (
	minBackoff = time.Second
	maxBackoff = 64 * time.Second
)

// binding is what one server gave for one address family. All of it is read
// from the message.
type binding struct {
	ip     plugins.IP
	routes []plugins.Route
	dns    plugins.DNS

	granted time.Time
	renew   time.Time // T1: ask the server that gave it
	rebind  time.Time // T2: ask every server
	expiry  time.Time

	message []byte // as it came
}

// clock sets the times. T1 and T2 that are missing, or make no sense, are the
// fractions of the whole that the protocol has for them.
func (b *binding) clock(granted time.Time, t1, t2, whole, default1, default2 time.Duration) {
	if t1 <= 0 || t1 >= whole {
		t1 = default1
	}
	if t2 <= t1 || t2 >= whole {
		t2 = max(default2, t1)
	}
	b.granted, b.renew, b.rebind, b.expiry = granted, granted.Add(t1), granted.Add(t2), granted.Add(whole)
}

// protocol is DHCP for one family, on the device of one container. Its
// methods open their sockets where that is and close them again.
type protocol interface {
	acquire(ctx context.Context) (*binding, error)

	// extend asks the binding's server for more time, or every server where
	// that is too late.
	extend(ctx context.Context, b *binding, everyServer bool) (*binding, error)

	release(ctx context.Context, b *binding) error

	// read is the binding of a server's message that came then.
	read(message []byte, granted time.Time) (*binding, error)
}

// lease is what an attachment holds, of one family or both.
type lease struct {
	*Server
	key    endpoint.Key
	ask    contract.Ask
	where  *place
	log    *slog.Logger
	cancel context.CancelFunc
	done   sync.WaitGroup
	parts  []*part
}

// part is a lease's half.
type part struct {
	protocol
	family   int // 4 or 6
	failures int // in a row, without a binding

	mu    sync.Mutex
	bound *binding // nil: lost
}

func (p *part) get() *binding {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bound
}

func (p *part) set(b *binding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bound = b
}

// newLease has the parts that are asked for, none of them bound.
func (s *Server) newLease(ask contract.Ask, where *place) *lease {
	l := &lease{
		Server: s, key: keyOf(ask), ask: ask, where: where, cancel: func() {},
		log: s.Log.With("network", ask.Network, "container", ask.ContainerID, "ifname", ask.IfName),
	}
	if ask.IPv4 {
		l.parts = append(l.parts, &part{protocol: newV4(where, ask), family: 4})
	}
	if ask.IPv6 {
		l.parts = append(l.parts, &part{protocol: newV6(where, ask), family: 6})
	}
	return l
}

// acquire gets a lease of every family asked for, or none.
func (l *lease) acquire(ctx context.Context) error {
	if err := l.where.up(); err != nil {
		return err
	}
	for _, p := range l.parts {
		b, err := p.tryAcquire(ctx)
		if err != nil {
			l.release(context.WithoutCancel(ctx))
			return err
		}
		p.set(b)
	}
	return nil
}

func (p *part) tryAcquire(ctx context.Context) (*binding, error) {
	limited, cancel := context.WithTimeout(ctx, acquireWithin)
	defer cancel()
	return p.acquire(limited)
}

func (l *lease) answer() *contract.Answer {
	a := new(contract.Answer)
	for _, p := range l.parts {
		b := p.get()
		if b == nil {
			continue // lost since
		}
		a.IPs, a.Routes = append(a.IPs, b.ip), append(a.Routes, l.shape(b).routes...)
		a.DNS.Nameservers = append(a.DNS.Nameservers, b.dns.Nameservers...)
		a.DNS.Search = append(a.DNS.Search, b.dns.Search...)
		if a.DNS.Domain == "" {
			a.DNS.Domain = b.dns.Domain
		}
	}
	return a
}

func (l *lease) alive() bool {
	for _, p := range l.parts {
		if b := p.get(); b == nil || time.Now().After(b.expiry) {
			return false
		}
	}
	return true
}

// keep renews until the lease ends or the container is gone; then it calls
// gone.
func (l *lease) keep(ctx context.Context, gone func()) {
	ctx, l.cancel = context.WithCancel(ctx)
	for _, p := range l.parts {
		l.done.Go(func() {
			if err := l.renewAlways(ctx, p); errors.Is(err, errGone) {
				l.log.Info("dhcp lease forgotten", "reason", err)
				gone()
			}
		})
	}
}

func (l *lease) renewAlways(ctx context.Context, p *part) error {
	next := time.Now()
	if b := p.get(); b != nil {
		next = l.due(b)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(next)):
		}
		var err error
		if next, err = l.step(ctx, p); errors.Is(err, errGone) || ctx.Err() != nil {
			return err
		} else if err != nil {
			l.report("keep DHCP lease", err)
		}
	}
}

// due is when a binding is to be renewed.
func (l *lease) due(b *binding) time.Time {
	if limit := time.Now().Add(l.RenewWithin); l.RenewWithin > 0 && limit.Before(b.renew) {
		return limit
	}
	return b.renew
}

// step is one transition of the client's state (RFC 2131 figure 5): it renews
// or rebinds, gives up what has expired or is refused, or gets a new binding
// where there is none, and tells when to go on.
func (l *lease) step(ctx context.Context, p *part) (next time.Time, err error) {
	old, now := p.get(), time.Now()
	switch {
	case old == nil:
		return l.regain(ctx, p)
	case !now.Before(old.expiry):
		return now, l.lose(p, old, errExpired)
	}
	everyServer, until := false, old.rebind
	if !now.Before(old.rebind) {
		everyServer, until = true, old.expiry
	}
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	fresh, err := p.extend(limited, old, everyServer)
	switch {
	case errors.Is(err, errGone) || ctx.Err() != nil:
		return next, err
	case errors.Is(err, errRefused):
		return now, l.lose(p, old, err)
	case err != nil:
		l.log.Warn("dhcp lease not renewed", "address", old.ip.Address, "expires", old.expiry, "error", err)
		return retryAt(old, until), nil
	}
	p.set(fresh)
	return l.due(fresh), errors.Join(l.save(), l.move(old, fresh))
}

var errExpired = errors.New("it has expired: no server has renewed it")

// retryAt is after half of the time that is left until then (RFC 2131 section
// 4.4.5), but not sooner than a minute or, for leases of minutes, a small part
// of the whole.
func retryAt(b *binding, until time.Time) time.Time {
	least := min(time.Minute, b.expiry.Sub(b.granted)/16)
	next := time.Now().Add(max(least, time.Until(until)/2))
	if next.After(until) {
		return until
	}
	return next
}

// lose takes the address away: it is not ours any more (RFC 2131 section
// 4.4.5), and may be another machine's.
func (l *lease) lose(p *part, old *binding, cause error) error {
	p.set(nil)
	l.report("keep DHCP lease", fmt.Errorf("container %s lost %s: %w", l.ask.ContainerID, old.ip.Address, cause))
	return errors.Join(l.save(), l.move(old, nil))
}

// regain asks for a binding anew.
func (l *lease) regain(ctx context.Context, p *part) (next time.Time, err error) {
	fresh, err := p.tryAcquire(ctx)
	if errors.Is(err, errGone) || ctx.Err() != nil {
		return next, err
	}
	if err != nil {
		p.failures++
		l.log.Warn("dhcp lease not regained", "error", err)
		return time.Now().Add(min(maxBackoff, minBackoff<<min(p.failures-1, 10))), nil
	}
	p.failures = 0
	p.set(fresh)
	l.log.Info("dhcp lease regained", "address", fresh.ip.Address)
	return l.due(fresh), errors.Join(l.save(), l.move(nil, fresh))
}

// move gives the device what the fresh binding has and the old one has not,
// and takes away the reverse. Either may be nil.
func (l *lease) move(old, fresh *binding) error {
	had, has := l.shape(old), l.shape(fresh)
	if had.address == has.address && slices.EqualFunc(had.routes, has.routes, sameRoute) {
		return nil
	}
	err := l.where.onLink(func(c *netdev.Conn, dev *netdev.Device) error {
		b := new(netdev.Batch)
		if had.address.IsValid() && had.address != has.address {
			b.DeleteAddr(dev.Index, had.address)
		}
		if has.address.IsValid() {
			reshape(b, dev, had, has)
		}
		return c.Do(b)
	})
	if l.Moved != nil && had.address != has.address {
		l.Moved(l.key, had.address, has.address)
	}
	return err
}

// shape is what a binding means for the device.
type shape struct {
	address netip.Prefix
	routes  []plugins.Route
}

func (l *lease) shape(b *binding) (s shape) {
	if b == nil {
		return s
	}
	s = shape{b.ip.Address, slices.Clone(b.routes)}
	for i := range s.routes {
		s.routes[i].Priority = l.ask.Priority
	}
	for _, r := range l.ask.Routes {
		if r.Dst.Addr().Is4() == s.address.Addr().Is4() {
			s.routes = append(s.routes, r)
		}
	}
	return s
}

func sameRoute(a, b plugins.Route) bool { return a.Dst == b.Dst && a.Gateway == b.Gateway }

func reshape(b *netdev.Batch, dev *netdev.Device, had, has shape) {
	b.EnsureAddr(dev.Index, has.address)
	for _, r := range had.routes {
		if !slices.ContainsFunc(has.routes, func(o plugins.Route) bool { return sameRoute(r, o) }) {
			b.DeleteRoute(dev.Index, r.Dst)
		}
	}
	for _, r := range has.routes {
		b.AddRoute(dev.Index, netdev.Route{Dst: r.Dst, Gateway: r.Gateway, Priority: r.Priority})
	}
	if had.address != has.address {
		b.Announce(dev.Name, dev.MAC, netdev.Announcements)
	}
}

// stop ends renewal without releasing.
func (l *lease) stop() {
	l.cancel()
	l.done.Wait()
}

// end stops and releases.
func (l *lease) end(ctx context.Context) {
	l.stop()
	l.release(ctx)
}

// release tells the servers. One that cannot be told waits for the expiry.
func (l *lease) release(ctx context.Context) {
	for _, p := range l.parts {
		b := p.get()
		if b == nil || time.Now().After(b.expiry) {
			continue
		}
		if err := p.release(ctx, b); err != nil {
			l.log.Info("dhcp lease not released", "address", b.ip.Address, "reason", err)
		}
	}
}
