// Package dns is the resolver that containers have at 127.0.0.11: it answers
// the names of those that the asker shares a network with, and hands every
// other question to the nameservers of the host.
//
// Who asks is known by the socket. Each container's network namespace has a
// pair of its own (UDP and TCP) that was opened inside and is served from
// outside, so the resolver works on every driver, needs no port of the host,
// and no container can ask in the name of another.
//
// What is answered is read from the records of endpoints when the question
// comes: see Directory. Nothing is cached beyond that, answers have TTL 0,
// and sockets stay open whatever becomes of the names.
package dns

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/resolvconf"
	"github.com/berth-net/berth/state"
)

// Address is where a container finds the resolver. It is a loopback address,
// so it needs no route and nobody else reaches it; people know it from Docker.
var Address = netip.MustParseAddrPort("127.0.0.11:53")

// Options say where a Resolver's parts are.
type Options struct {
	Store      *state.Store
	ResolvConf string           // of the host; empty: resolvconf.DefaultPath
	Own        []netip.AddrPort // where Listeners are besides Address, so that none is taken for an upstream
	Elsewhere  Elsewhere        // names of other hosts; nil: none
	Log        *slog.Logger     // nil: none
	Dial       Dial             // from the host's namespace; nil: the calling process's
}

// Resolver is what the Listeners of a process have in common.
type Resolver struct {
	names     *Directory
	host      *hostFile
	own       []netip.AddrPort
	elsewhere Elsewhere
	log       *slog.Logger
	dial      Dial
	upstreams upstreams
	counts    counts
}

// New makes a Resolver. It touches nothing.
func New(o Options) *Resolver {
	r := &Resolver{
		names: NewDirectory(o.Store), host: &hostFile{path: o.ResolvConf}, own: append(slices.Clone(o.Own), Address),
		elsewhere: o.Elsewhere, log: o.Log, dial: o.Dial,
	}
	if r.host.path == "" {
		r.host.path = resolvconf.DefaultPath
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.dial == nil {
		r.dial = new(net.Dialer).DialContext
	}
	return r
}

// Client is whose questions come in at a Listener.
type Client struct {
	NetNS *netns.Handle // borrowed by Listen; a Listener does not keep it
	Host  bool          // the host itself, which shares every network
	DNS   plugins.DNS   // set for this client alone, over what its networks say
}

// counts are of all Listeners since the start.
type counts struct{ queries, local, forwarded, failed atomic.Uint64 }

// Counts tell what became of the questions so far.
type Counts struct {
	Queries   uint64 `json:"queries"`   // understood
	Local     uint64 `json:"local"`     // answered from records
	Forwarded uint64 `json:"forwarded"` // handed to an upstream
	Failed    uint64 `json:"failed"`    // of those, without an answer
}

// Counts of all Listeners since the start.
func (r *Resolver) Counts() Counts {
	c := &r.counts
	return Counts{c.queries.Load(), c.local.Load(), c.forwarded.Load(), c.failed.Load()}
}

// Effective is what a container's resolv.conf would say without the resolver:
// its own settings, over those of its networks, over the host's. A nameserver
// of the host's that a container cannot reach, for it is on the host's
// loopback, is left out.
func (r *Resolver) Effective(c Client) (plugins.DNS, error) {
	id, err := c.NetNS.ID()
	if err != nil {
		return plugins.DNS{}, err
	}
	s, err := r.names.snapshot()
	if err != nil {
		return plugins.DNS{}, err
	}
	host := r.host.read()
	host.Nameservers = slices.DeleteFunc(slices.Clone(host.Nameservers), isLoopback)
	return resolvconf.Over(resolvconf.Over(c.DNS, s.zone(id).dns), host), nil
}

func isLoopback(nameserver string) bool {
	a, err := netip.ParseAddr(nameserver)
	return err == nil && a.IsLoopback()
}

// Endpoints are those that stand on this host, in the order in which they were
// made, whether or not their containers live.
func (r *Resolver) Endpoints() ([]*Endpoint, error) {
	s, err := r.names.snapshot()
	if err != nil {
		return nil, err
	}
	return s.all, nil
}
