package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/probe"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/overlay"
)

// findings are what the last survey found.
type findings struct {
	peers map[string]finding
	// broken tells that some peer got broken checksums from this host.
	broken bool
}

type finding struct {
	probe.Result
	silent int // surveys in a row without an answer
}

// silentAfter surveys without an answer a peer is called silent: it may have
// joined the network after this host, and answers from its own next survey on.
const silentAfter = 2

func (f *findings) about(host string) string {
	p, known := f.peers[host]
	switch {
	case !known:
		return ""
	case p.silent >= silentAfter:
		return api.VXLANSilent
	case !p.Answered:
		return ""
	case !p.Checksums:
		return api.VXLANChecksums
	}
	return api.VXLANGood
}

// surveyor tries the tunnels of one host.
type surveyor struct {
	dev     *netdev.Handle
	probers map[uint16]*probe.Prober
}

// survey tries VXLAN to the hosts that this one shares a network with, every
// so often.
func (a *Agent) survey(ctx context.Context) error {
	if a.cluster == nil {
		return nil
	}
	dev, err := netdev.Here()
	if err != nil {
		return err
	}
	defer dev.Close()
	s := &surveyor{dev: dev, probers: map[uint16]*probe.Prober{}}
	defer func() { a.trouble("try VXLAN", s.keep(nil)) }()
	tick := time.NewTicker(max(a.Every/3, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.trouble("try VXLAN", a.surveyOnce(ctx, s))
		}
	}
}

func (a *Agent) surveyOnce(ctx context.Context, s *surveyor) error {
	shared, err := a.shared()
	if err != nil {
		return err
	}
	results, errs := map[string]probe.Result{}, []error{s.keep(shared)}
	for port, hosts := range shared {
		p, err := a.prober(s, port)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for host, r := range p.Ask(ctx, hosts) {
			if worst, ok := results[host]; !ok || worst.Answered && (!r.Answered || !r.Checksums) {
				results[host] = r
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(append(errs, a.conclude(results))...)
}

// shared are the hosts that have endpoints on the networks that this one has,
// by the networks' UDP ports. Encrypted networks are tried by their mesh.
func (a *Agent) shared() (map[uint16][]string, error) {
	records, err := attach.Records(a.Store, "")
	if err != nil {
		return nil, err
	}
	shared, done := map[uint16][]string{}, map[string]bool{}
	for _, r := range records {
		if done[r.Network] || r.Driver != "overlay" || a.cluster.View().Network(r.Network) == nil {
			continue
		}
		done[r.Network] = true
		t, err := overlay.TunnelOf(r)
		if err != nil {
			return nil, err
		}
		if t.Encrypted {
			continue
		}
		for _, e := range a.cluster.View().Endpoints(r.Network) {
			if e.Host != a.Name && a.cluster.View().Host(e.Host) != nil && !slices.Contains(shared[t.Port], e.Host) {
				shared[t.Port] = append(shared[t.Port], e.Host)
			}
		}
		if shared[t.Port] == nil {
			shared[t.Port] = []string{} // somebody may ask
		}
	}
	return shared, nil
}

// keep closes the probers of ports that no network has any more.
func (s *surveyor) keep(ports map[uint16][]string) error {
	var errs []error
	for port, p := range s.probers {
		if _, ok := ports[port]; !ok {
			delete(s.probers, port)
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(errs...)
}

// prober finds the one of a port, or makes it, and tells it where the hosts
// are.
func (a *Agent) prober(s *surveyor, port uint16) (*probe.Prober, error) {
	a.mu.Lock()
	local, err := a.vtep()
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if p := s.probers[port]; p != nil && !p.Intact(local) {
		delete(s.probers, port)
		if err := p.Close(); err != nil {
			return nil, err
		}
	}
	if s.probers[port] == nil {
		p, err := probe.Open(s.dev, probe.Options{Host: a.Name, Port: port, Local: local})
		if err != nil {
			return nil, err
		}
		s.probers[port] = p
	}
	peers := map[string]netip.Addr{}
	for _, h := range a.cluster.View().Hosts() {
		if h.Name != a.Name {
			peers[h.Name] = h.Address
		}
	}
	return s.probers[port], s.probers[port].SetPeers(peers)
}

// conclude notes what was found, says what is new of it, and turns offload
// off or on again.
func (a *Agent) conclude(results map[string]probe.Result) error {
	a.mu.Lock()
	old := a.found
	a.found = findings{peers: map[string]finding{}, broken: old.broken && !allGood(results)}
	silent := 0
	for host, r := range results {
		f := finding{Result: r}
		if !r.Answered {
			f.silent = old.peers[host].silent + 1
		}
		a.found.peers[host] = f
		a.found.broken = a.found.broken || r.Answered && !r.Checksums
		if f.silent >= silentAfter {
			silent++
		}
	}
	found, changed := a.found, a.found.broken != old.broken
	a.mu.Unlock()
	a.metrics.silent.Set(float64(silent))
	for _, host := range slices.Sorted(maps.Keys(found.peers)) {
		if is := found.about(host); is != old.about(host) && is != api.VXLANGood && is != "" {
			a.trouble("try VXLAN to "+host, errors.New(is))
		}
	}
	if !changed {
		return nil
	}
	a.Log.Warn("checksums inside VXLAN", "broken", found.broken)
	return a.applyOffloads()
}

// allGood: somebody has confirmed that checksums arrive right, and nobody that
// they do not.
func allGood(results map[string]probe.Result) bool {
	good := false
	for _, r := range results {
		if r.Answered && !r.Checksums {
			return false
		}
		good = good || r.Checksums
	}
	return good
}

func (a *Agent) applyOffloads() error {
	records, err := attach.Records(a.Store, "")
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, r := range records {
		if a.segments[r.Network] != nil {
			errs = append(errs, a.applyOffload(r))
		}
	}
	return errors.Join(errs...)
}

// applyOffload leaves the checksums of a network to the network card or not,
// where the network leaves it to the agent. a.mu is held.
func (a *Agent) applyOffload(r *endpoint.Record) error {
	t, err := overlay.TunnelOf(r)
	if err != nil || t.Checksums != overlay.OffloadAuto {
		return err
	}
	_, name, err := overlay.Devices(r)
	if err != nil {
		return err
	}
	vxlan, err := a.dev.Link(name)
	if err != nil {
		return err
	}
	on, err := a.dev.ChecksumOffload(vxlan)
	if err != nil || on == !a.found.broken {
		return err
	}
	if err := a.dev.SetChecksumOffload(vxlan, !a.found.broken); err != nil {
		return fmt.Errorf("network %s: %w", r.Network, err)
	}
	return nil
}
