package test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
)

// CVE-2025-54410, as an operator lives through it: the real plugin has
// attached containers, somebody flushes every rule while they are being used,
// and berth network reload brings isolation and ports back.
func TestReloadInTheMiddleOfTraffic(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			reloadInTraffic(t, backend)
		})
	}
}

func reloadInTraffic(t *testing.T, backend string) {
	p := &plugged{t, nettest.NewHost(t, "h"), binaries(t)}
	lan := nettest.NewHost(t, "lan")
	nettest.Link(p.h, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, lan, "eth0", []string{"192.0.2.9/24", "2001:db8::9/64"})
	lan.Run("ip", "route", "add", "default", "via", "192.0.2.1")
	lan.Serve("tcp", ":80")
	for i, name := range []string{"front", "back", "inner"} {
		args := []string{"network", "create", "-o", "firewall-backend=" + backend, "--subnet", fmt.Sprintf("10.%d.0.0/24", i+1), "--subnet", fmt.Sprintf("fd10:%d::/64", i+1)}
		if name == "inner" {
			args = append(args, "--internal")
		}
		p.berth(append(args, name)...)
	}
	web, other, inner := p.h.NewContainer("web"), p.h.NewContainer("other"), p.h.NewContainer("inner")
	p.call("ADD", "front", web, `{"hostPort":8080,"containerPort":80,"protocol":"tcp"}`)
	p.call("ADD", "back", other)
	p.call("ADD", "inner", inner)
	web.Serve("tcp", ":80")
	inner.Run("ip", "route", "add", "default", "via", "10.3.0.1") // should it want to get out

	traffic := newTraffic(t)
	for _, f := range []flow{
		{from: lan, to: "192.0.2.1:8080", may: true},
		{from: lan, to: "[2001:db8::1]:8080", may: true},
		{from: other.Host, to: "192.0.2.1:8080", may: true},
		{from: other.Host, to: "192.0.2.9:80", may: true},
		{from: other.Host, to: "10.1.0.2:80"},
		{from: other.Host, to: "[fd10:1::2]:80"},
		{from: lan, to: "10.1.0.2:80"},
		{from: inner.Host, to: "10.1.0.2:80"},
	} {
		traffic.start(f)
	}
	allowed := func(f flow) bool { return f.may }
	routed := func(f flow) bool { return !strings.HasSuffix(f.to, ":8080") }
	traffic.settles(allowed)
	traffic.keepsTo("at first", allowed)
	p.h.Run("nft", "flush", "ruleset")
	traffic.settles(routed)
	traffic.keepsTo("after the flush", routed)
	p.berth("network", "reload")
	traffic.keepsTo("after the reload", allowed)
	p.berth("network", "reload") // while nothing is amiss
	traffic.keepsTo("after another reload", allowed)
	p.call("CHECK", "front", web, `{"hostPort":8080,"containerPort":80,"protocol":"tcp"}`)
}

// flow is one client that connects again and again.
type flow struct {
	from *nettest.Host
	to   string
	may  bool
}

// traffic counts how the attempts of every flow end, in the present phase.
type traffic struct {
	*testing.T
	flows []flow

	mu     sync.Mutex
	phase  int
	counts []outcome // of each flow
}

type outcome struct{ good, bad int }

func newTraffic(t *testing.T) *traffic { return &traffic{T: t} }

func (tr *traffic) start(f flow) {
	i := len(tr.flows)
	tr.mu.Lock()
	tr.flows, tr.counts = append(tr.flows, f), append(tr.counts, outcome{})
	tr.mu.Unlock()
	var ended sync.WaitGroup
	ctx, cancel := context.WithCancel(tr.Context())
	tr.Cleanup(func() { cancel(); ended.Wait() })
	ended.Go(func() {
		for ctx.Err() == nil {
			phase := tr.now()
			tr.count(i, phase, connects(ctx, f))
		}
	})
}

func connects(ctx context.Context, f flow) bool {
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	c, err := f.from.Dial(short, "tcp", f.to)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	_, err = c.Read(make([]byte, 64))
	c.(*net.TCPConn).SetLinger(0) // thousands of closed connections are not what is tested
	return err == nil
}

func (tr *traffic) now() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.phase
}

// count leaves out an attempt that began in an earlier phase.
func (tr *traffic) count(i, phase int, good bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	switch {
	case phase != tr.phase:
	case good:
		tr.counts[i].good++
	default:
		tr.counts[i].bad++
	}
}

// keepsTo begins a phase, waits for some attempts of every flow, and holds all
// of them against what is expected.
func (tr *traffic) keepsTo(when string, expected func(flow) bool) {
	tr.Helper()
	tr.begin()
	tr.await("every flow is tried "+when, func(_ flow, c outcome) bool { return c.good+c.bad >= 4 })
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i, c := range tr.counts {
		if f, want := tr.flows[i], expected(tr.flows[i]); want && c.bad > 0 || !want && c.good > 0 {
			tr.Errorf("%s, %s to %s: of its attempts %d succeed and %d do not; all should: %v", when, f.from.Name, f.to, c.good, c.bad, want)
		}
	}
}

// settles waits until every flow that is expected to succeed has done so:
// over IPv6 neighbours are sought for a while.
func (tr *traffic) settles(expected func(flow) bool) {
	tr.Helper()
	tr.begin()
	tr.await("the flows settle", func(f flow, c outcome) bool { return !expected(f) || c.good > 0 })
}

func (tr *traffic) begin() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.phase++
	clear(tr.counts)
}

func (tr *traffic) await(what string, condition func(flow, outcome) bool) {
	tr.Helper()
	nettest.Eventually(tr.T, what, func() error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for i, c := range tr.counts {
			if !condition(tr.flows[i], c) {
				return fmt.Errorf("%s to %s: %+v", tr.flows[i].from.Name, tr.flows[i].to, c)
			}
		}
		return nil
	})
}
