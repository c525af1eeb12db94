package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	contract "github.com/berth-net/berth/plugins/dhcp"
)

// errGone says that the container's namespace or device is no more.
var errGone = errors.New("the container is gone")

// Renewal is tried again after half of what is left, but not sooner than this
// (RFC 2131 section 4.4.5 has a minute, for leases of days).
const minRetry = time.Second

// binding is what one server gave for one address family.
type binding struct {
	ip     plugins.IP
	routes []plugins.Route
	dns    plugins.DNS
	renew  time.Time
	expiry time.Time
	reply  any // the message, to be renewed and released
}

// protocol is DHCP for one family, on the device of one container. Its
// methods open their sockets where that is and close them again.
type protocol interface {
	acquire(ctx context.Context) (*binding, error)
	renew(ctx context.Context, b *binding) (*binding, error)
	release(ctx context.Context, b *binding) error
}

// lease is what an attachment holds, of one family or both.
type lease struct {
	where  *place
	log    *slog.Logger
	within time.Duration // see Server.RenewWithin
	cancel context.CancelFunc
	done   sync.WaitGroup
	parts  []*part
}

// part is a lease's half.
type part struct {
	protocol
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

// place is a device, found again each time: who held its namespace open would
// keep a dead container's alive.
type place struct {
	path   string
	id     netns.ID
	ifname string
}

// in calls fn inside the namespace, unless it is gone.
func (w *place) in(fn func(*netns.Handle) error) error {
	ns, err := netns.Open(w.path)
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	defer ns.Close()
	if id, err := ns.ID(); err != nil || w.id != (netns.ID{}) && id != w.id {
		return fmt.Errorf("%w: %s is another namespace", errGone, w.path)
	}
	return fn(ns)
}

// onLink calls fn with the device.
func (w *place) onLink(fn func(*netdev.Handle, netdev.Link) error) error {
	return w.in(func(ns *netns.Handle) error {
		h, err := netdev.In(ns)
		if err != nil {
			return err
		}
		defer h.Close()
		link, err := h.Link(w.ifname)
		if errors.Is(err, netdev.ErrNotFound) {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		if err != nil {
			return err
		}
		return fn(h, link)
	})
}

// acquire gets a lease of every family asked for, or none.
func (s *Server) acquire(ctx context.Context, ask contract.Ask) (*lease, error) {
	w := &place{path: ask.NetNS, ifname: ask.IfName}
	if err := w.in(func(ns *netns.Handle) (err error) { w.id, err = ns.ID(); return err }); err != nil {
		return nil, err
	}
	if err := w.onLink(func(h *netdev.Handle, link netdev.Link) error { return h.SetUp(link) }); err != nil {
		return nil, err
	}
	l := &lease{where: w, log: s.log.With("network", ask.Network, "container", ask.ContainerID, "ifname", ask.IfName), cancel: func() {}, within: s.RenewWithin}
	var protocols []protocol
	if ask.IPv4 {
		protocols = append(protocols, newV4(w, ask))
	}
	if ask.IPv6 {
		protocols = append(protocols, newV6(w, ask))
	}
	for _, p := range protocols {
		b, err := p.acquire(ctx)
		if err != nil {
			l.end(context.WithoutCancel(ctx))
			return nil, err
		}
		l.parts = append(l.parts, &part{protocol: p, bound: b})
	}
	return l, nil
}

func (l *lease) answer() *contract.Answer {
	a := new(contract.Answer)
	for _, p := range l.parts {
		b := p.get()
		a.IPs, a.Routes = append(a.IPs, b.ip), append(a.Routes, b.routes...)
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
			if err := l.renewAlways(ctx, p); err != nil && ctx.Err() == nil {
				l.log.Info("dhcp lease forgotten", "reason", err)
				gone()
			}
		})
	}
}

func (l *lease) renewAlways(ctx context.Context, p *part) error {
	next := l.due(p.get())
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(next)):
		}
		var err error
		if next, err = l.step(ctx, p); err != nil {
			return err
		}
	}
}

// due is when a binding is to be renewed.
func (l *lease) due(b *binding) time.Time {
	if limit := time.Now().Add(l.within); l.within > 0 && limit.Before(b.renew) {
		return limit
	}
	return b.renew
}

// step renews, or gets a new lease where the old one is lost, and tells when
// to do so again.
func (l *lease) step(ctx context.Context, p *part) (next time.Time, err error) {
	old := p.get()
	var fresh *binding
	if old != nil && time.Now().Before(old.expiry) {
		fresh, err = p.renew(ctx, old)
	} else {
		fresh, err = p.acquire(ctx)
	}
	switch {
	case errors.Is(err, errGone) || ctx.Err() != nil:
		return next, errors.Join(err, ctx.Err())
	case err != nil:
		l.log.Warn("dhcp lease not renewed", "error", err)
	case err == nil:
		p.set(fresh)
		return l.due(fresh), l.move(old, fresh)
	}
	if old == nil || time.Now().After(old.expiry) || errors.Is(err, errRefused) {
		// RFC 2131 section 4.4.5: the address is not ours any more.
		p.set(nil)
		return time.Now().Add(minRetry), l.move(old, nil)
	}
	return time.Now().Add(max(minRetry, time.Until(old.expiry)/2)), nil
}

// move makes the device's address the new binding's.
func (l *lease) move(old, fresh *binding) error {
	if old != nil && fresh != nil && old.ip.Address == fresh.ip.Address {
		return nil
	}
	return l.where.onLink(func(h *netdev.Handle, link netdev.Link) error {
		if old != nil {
			l.log.Warn("dhcp lease lost", "address", old.ip.Address)
			if err := h.DeleteAddr(link, old.ip.Address); err != nil {
				return err
			}
		}
		if fresh == nil {
			return nil
		}
		if err := h.AddAddr(link, fresh.ip.Address); err != nil {
			return err
		}
		for _, r := range fresh.routes {
			if err := h.AddRoute(link, netdev.Route{Dst: r.Dst, Gateway: r.Gateway}); err != nil {
				return err
			}
		}
		return h.Announce(link, []netip.Prefix{fresh.ip.Address})
	})
}

// stop ends renewal without releasing.
func (l *lease) stop() {
	l.cancel()
	l.done.Wait()
}

// end stops and releases. A server that cannot be told waits for the expiry.
func (l *lease) end(ctx context.Context) {
	l.stop()
	for _, p := range l.parts {
		if b := p.get(); b != nil {
			if err := p.release(ctx, b); err != nil {
				l.log.Info("dhcp lease not released", "address", b.ip.Address, "reason", err)
			}
		}
	}
}
