package agent_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// converge adds a container on one host, has another's connect to it, removes
// it, and returns the time from ADD's return to the first connection.
func (w *world) converge(h *nettest.Host, name string, client *member) time.Duration {
	w.Helper()
	m := w.add(h, name)
	begin := time.Now()
	m.ServeHTTP(netip.AddrPortFrom(m.ips[0], 80).String())
	w.eventually(client.Name+" to reach "+name, func() error {
		_, err := client.TryGet("http://" + m.ips[0].String())
		return err
	})
	took := time.Since(begin)
	w.del(m)
	return took
}

// BenchmarkConvergence is the time from ADD's return on one host until a
// container on another has connected for the first time.
func BenchmarkConvergence(b *testing.B) {
	w := newWorld(b, 3)
	client, other := w.add(w.hosts[1], "client"), w.add(w.hosts[2], "other")
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		took = append(took, w.converge(w.hosts[0], fmt.Sprintf("c%d", i), []*member{client, other}[i%2]))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// The container is the only one of its host, so the devices come and go with
// it and repairs run all the time: they must not take back the news of an
// endpoint whose devices are still being made. A first packet that is lost for
// it is sent again only after a second.
func TestTheOthersKnowWhenAddReturns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	clients := []*member{w.add(w.hosts[1], "client"), w.add(w.hosts[2], "other")}
	fdb := w.hosts[1].Background("bridge", "monitor", "fdb")
	var late []time.Duration
	const rounds = 15
	for i := range rounds {
		if took := w.converge(w.hosts[0], fmt.Sprintf("c%d", i), clients[i%2]); took > 900*time.Millisecond {
			late = append(late, took)
		}
	}
	if len(late) > 2 { // a busy machine
		t.Errorf("%d of %d first connections took %v", len(late), rounds, late)
	}
	gone := func(line string) bool {
		return strings.HasPrefix(line, "Deleted") && strings.Contains(line, "dst 192.0.2.1 ")
	}
	n := 0
	w.eventually("the last endpoint to go", func() error {
		n = 0
		for line := range strings.Lines(fdb.Output()) {
			if gone(line) {
				n++
			}
		}
		if n < rounds {
			return fmt.Errorf("%d have gone", n)
		}
		return nil
	})
	if n != rounds {
		t.Errorf("%d endpoints went for %d DELs:\n%s", n, rounds, fdb.Output())
	}
}

// A container that comes back with the same address and another MAC cannot
// tell the containers of other hosts, because nothing is flooded: their own
// host does.
func TestNeighboursElsewhereAreToldOfANewMAC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	b := w.add(w.hosts[1], "b")
	var static []netip.Prefix
	for i, mac := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02"} {
		a := w.addWith(w.hosts[0], fmt.Sprintf("a%d", i), func(req *plugins.Request) {
			req.Runtime.MAC, _ = net.ParseMAC(mac)
			req.Runtime.IPs = static
		})
		for _, ip := range a.ips {
			what := fmt.Sprintf("%s to have %s at %s", b.Name, ip, mac)
			w.eventually(what, func() error {
				if i == 0 {
					_ = b.TryPing(ip.String())
				}
				if out := b.Run("ip", "neighbour", "show", ip.String()); !strings.Contains(out, mac) {
					return errors.New(out)
				}
				return nil
			})
		}
		static = []netip.Prefix{netip.PrefixFrom(a.ips[0], 24), netip.PrefixFrom(a.ips[1], 64)}
		w.del(a)
	}
}
