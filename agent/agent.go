// Package agent is berth's long-running part on a host: it keeps the host's
// networks and records right, and where the cluster has etcd, it tells the
// others of this host's endpoints and programs the way to theirs.
//
// Containers' traffic never passes through it. When it or etcd is away,
// changes wait and traffic goes on.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/agent/names"
	"github.com/berth-net/berth/agent/plane"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/state"
)

// Options say what an agent does. Zero values mean the defaults named.
type Options struct {
	Store     *state.Store
	Catalogue *network.Catalogue
	Log       *slog.Logger

	Name         string          // of the host in the cluster
	Cluster      cluster.Options // no servers: one host
	Bind         netip.Addr      // this host's end of tunnels; default: Advertise, or the address towards etcd
	Advertise    netip.Addr      // where the others send to; default: Bind. Behind a NAT the two differ
	Mesh         mesh.Options    // of encrypted networks
	ReclaimAfter time.Duration   // of a dead host's addresses; 0: never
	Metrics      string          // address to serve Prometheus at; empty: none
	Every        time.Duration   // between repairs; default 30 s
	NoNames      bool            // open no resolvers
	NamesAt      netip.AddrPort  // where the host itself may ask for names; default: nowhere
}

// Agent serves one host.
type Agent struct {
	Options
	started  time.Time
	instance string          // of this boot
	cluster  *cluster.Client // nil: one host
	watch    *netdev.Watch
	dirty    chan struct{} // asks for a repair
	metrics  *metrics
	names    *names.Service // nil: none

	filtersBridged string // what br_netfilter did at the last repair

	// telling orders what the cluster is told: all of the records, read at one
	// moment, must not overtake the news of one of them.
	telling sync.Mutex
	coming  map[endpoint.Key]*cluster.Endpoint // whose devices are being made
	evicted map[endpoint.Key]error             // why; nil: it has not been asked yet

	// hasty guards what an ADD asks for while a repair may hold mu.
	hasty    sync.Mutex
	end      netip.Addr            // vtep, when the cluster was told last; zero: there was none
	readings map[string]reading    // of networks, by name
	serving  map[string]api.Served // networks that were repaired once, and by which devices
	fenced   atomic.Bool

	mu        sync.Mutex  // guards what follows, dev and herald included
	secret    *encryption // nil: one host
	dev       *netdev.Handle
	herald    *netdev.Herald
	local     netip.Addr // VTEP that the cluster was told
	segments  map[string]*plane.Segment
	claimed   map[claim]claimed
	strangers map[string]uint32 // VNIs of networks here that are not the cluster's of that name
	problems  []api.Problem
	found     findings
}

// New prepares an agent in the network namespace of the calling thread.
func New(o Options) (*Agent, error) {
	if o.Every == 0 {
		o.Every = 30 * time.Second
	}
	dev, err := netdev.Here()
	if err != nil {
		return nil, err
	}
	herald, err := netdev.NewHerald()
	if err != nil {
		dev.Close()
		return nil, err
	}
	watch, err := netdev.NewWatch()
	if err != nil {
		dev.Close()
		return nil, errors.Join(err, herald.Close())
	}
	a := &Agent{
		Options: o, started: time.Now(), dev: dev, herald: herald, watch: watch, dirty: make(chan struct{}, 1), metrics: newMetrics(),
		segments: map[string]*plane.Segment{}, claimed: map[claim]claimed{}, readings: map[string]reading{}, serving: map[string]api.Served{},
		coming: map[endpoint.Key]*cluster.Endpoint{},
	}
	if !o.NoNames {
		a.names = names.New(a.namesOptions())
	}
	if len(o.Cluster.Servers) == 0 {
		return a, nil
	}
	o.Cluster.OnChange, o.Cluster.Log = a.follow, o.Log
	if a.cluster, err = cluster.Open(o.Cluster); err != nil {
		a.close()
		return nil, err
	}
	// Before anything is written: an address that the host does not have is
	// the operator's to mend.
	if _, err = a.vtep(); err == nil {
		a.instance, err = instanceOf(a.Store)
	}
	if err == nil {
		a.secret, err = newEncryption(&a.Options, a.Store.Dir(), a.instance)
	}
	if err != nil {
		a.close()
		return nil, err
	}
	a.metrics.registry.MustRegister(&meshMetrics{a.meshStatus})
	if err := a.introduce(); err != nil {
		return a, err
	}
	a.trouble("recall the cluster", a.cluster.Recall(a.memory()))
	return a, nil
}

// memory is the file by which the next agent of this boot knows the networks
// and this host's blocks before etcd answers it.
func (a *Agent) memory() string { return filepath.Join(a.Store.Dir(), "cluster.json") }

func (a *Agent) close() {
	if a.secret != nil {
		a.trouble("close the mesh", a.secret.mesh.Close())
	}
	a.dev.Close()
	_ = a.watch.Close() // closed already when Run ends
	a.trouble("close packet socket", a.herald.Close())
}

// introduce tells the cluster who this host is.
func (a *Agent) introduce() error {
	end, err := a.vtep()
	a.hasty.Lock()
	a.end = end
	a.hasty.Unlock()
	if err != nil {
		return err
	}
	address := cmp.Or(a.Advertise, end)
	a.local = address
	h := cluster.Host{Name: a.Name, Instance: a.instance, Address: address}
	if h.UnderlayMTU, err = a.underlayMTU(end); err != nil {
		return err
	}
	a.describe(&h)
	return a.cluster.SetHost(h)
}

// Run works until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	defer a.close()
	l, err := api.Listen(a.Store)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	context.AfterFunc(ctx, func() { l.Close() })
	context.AfterFunc(ctx, func() { a.watch.Close() })
	if err := a.serveMetrics(ctx); err != nil {
		return errors.Join(err, l.Close())
	}
	if a.cluster != nil {
		defer a.cluster.Close()
		// Before an ADD is answered: the agent before this one may have given
		// the networks up.
		a.trouble("guard addresses", a.guardAddresses(ctx))
		wg.Go(func() { a.cluster.Run(ctx) })
	}
	wg.Go(func() { a.keep(ctx) })
	wg.Go(func() { a.listen(ctx) })
	wg.Go(func() { a.trouble("watch the packet filter", a.watchFilter(ctx)) })
	wg.Go(func() { a.trouble("try VXLAN", a.survey(ctx)) })
	a.serveDHCP(ctx, &wg)
	if a.names != nil {
		wg.Go(func() { a.trouble("serve names", a.names.Run(ctx)) })
	}
	a.Log.Info("agent runs", "host", a.Name, "socket", l.Addr().String(), "etcd", a.Options.Cluster.Servers)
	return api.Serve(ctx, l, a.handle)
}

// serveMetrics opens the address that Prometheus asks.
func (a *Agent) serveMetrics(ctx context.Context) error {
	if a.Metrics == "" {
		return nil
	}
	l, err := net.Listen("tcp", a.Metrics)
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go a.metrics.serve(l)
	return nil
}

// maxProblems is how many of the last problems status shows.
const maxProblems = 20

func (a *Agent) trouble(what string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	a.Log.Error(what, "err", err)
	a.metrics.problems.Inc()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addProblem(what, err.Error())
}

// addProblem is for status. a.mu is held.
func (a *Agent) addProblem(what, message string) {
	a.problems = append([]api.Problem{{Time: time.Now(), What: what, Message: message}}, a.problems...)
	a.problems = a.problems[:min(len(a.problems), maxProblems)]
}
