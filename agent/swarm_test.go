package agent_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins/overlay"
)

// swarmSize in the environment makes this test binary the control planes of so
// many hosts, each with endpointsPerHost endpoints of the network big.
const swarmSize = "BERTH_TEST_SWARM"

const (
	simulatedHosts   = 97
	endpointsPerHost = 100
	changes          = 6 // after each start of an agent
)

const big = `{"type":"overlay","controlPlane":"etcd","ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.42.0.0/16","gateway":"10.42.0.1"}]]}}`

var bigRange = ipam.RangeSet{{
	Subnet: netip.MustParsePrefix("10.42.0.0/16"), Start: netip.MustParseAddr("10.42.0.2"), End: netip.MustParseAddr("10.42.255.254"),
}}

// swarm is the hosts of one process. It prints "published" when etcd has all
// of their endpoints, and then for each container with a name that begins with
// "probe" the time when the last of the hosts knew it.
type swarm struct {
	mu   sync.Mutex
	seen map[string]int
}

func runSwarm(size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	s := &swarm{seen: map[string]int{}}
	for i := range n { // one after the other: hosts do not boot all at once
		if err := s.host(context.Background(), i, n); err != nil {
			return err
		}
	}
	fmt.Println("published")
	select {}
}

func (s *swarm) host(ctx context.Context, i, of int) error {
	name := fmt.Sprintf("sim%d", i)
	c, err := cluster.Open(cluster.Options{
		Servers: []string{bothFamilies.etcdURL()}, TTL: 30 * time.Second, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		OnChange: func(change cluster.Change) { s.note(change, of) },
	})
	if err != nil {
		return err
	}
	if err := c.SetHost(cluster.Host{Name: name, Instance: name, Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})}); err != nil {
		return err
	}
	go c.Run(ctx)
	<-c.Synced()
	block, err := c.AcquireBlock(ctx, "big", bigRange)
	if err != nil {
		return err
	}
	var all []*cluster.Endpoint
	first := binary.BigEndian.Uint32(block.Masked().Addr().AsSlice()) + 10
	for j := range uint32(endpointsPerHost) {
		addr, _ := netip.AddrFromSlice(binary.BigEndian.AppendUint32(nil, first+j))
		all = append(all, &cluster.Endpoint{
			Key:  endpoint.Key{Network: "big", ContainerID: fmt.Sprintf("%064d", first+j), IfName: "eth0"},
			Host: name, Name: fmt.Sprintf("web-%d-%d", i, j), MAC: overlay.ContainerMAC(addr).String(), Addresses: []netip.Addr{addr},
		})
	}
	if err := c.SetEndpoints(all); err != nil {
		return err
	}
	for _, e := range all {
		c.AwaitPublished(ctx, e)
	}
	return nil
}

func (s *swarm) note(change cluster.Change, of int) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range change.Endpoints {
		if strings.HasPrefix(e.ContainerID, "probe") {
			if s.seen[e.ContainerID]++; s.seen[e.ContainerID] == of {
				fmt.Println(e.ContainerID, now.UnixNano())
			}
		}
	}
}

// newSwarm adds simulated hosts to a world and waits until they are published.
func newSwarm(w *world) *nettest.Process {
	p := w.server.Background("/usr/bin/env", swarmSize+"="+strconv.Itoa(simulatedHosts), os.Args[0])
	for !strings.Contains(p.Output(), "published") {
		select {
		case <-p.Done():
			w.Fatalf("the swarm has ended: %s", p.Output())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return p
}

// reached is when the last host of the swarm knew a container.
func (w *world) reached(p *nettest.Process, container string) (at time.Time) {
	w.Helper()
	w.eventually(container+" to reach all", func() error {
		for scan := bufio.NewScanner(strings.NewReader(p.Output())); scan.Scan(); {
			var nanos int64
			if _, err := fmt.Sscanf(scan.Text(), container+" %d", &nanos); err == nil {
				at = time.Unix(0, nanos)
				return nil
			}
		}
		return fmt.Errorf("not yet: %.200s", p.Output())
	})
	return at
}

// countFDB is how many MACs a host knows elsewhere.
func countFDB(h *nettest.Host, device string) int {
	out, _ := h.Try("bridge", "fdb", "show", "dev", device)
	return strings.Count(out, " dst ")
}

// peakRSS is the most memory that a process has had, in MB.
func peakRSS(t testing.TB, pid int) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	fields := strings.Fields(rest)
	kib, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return float64(kib) / 1024
}

// BenchmarkHundredHosts is a cluster of 100 hosts with 100 endpoints each, the
// kernel's side of three of them real: how long a new agent, which is berth's
// own binary, takes until its kernel knows everybody, what memory it takes, and
// when an endpoint that is added is known to all.
func BenchmarkHundredHosts(b *testing.B) {
	w := newWorld(b, 3)
	for i, h := range w.hosts {
		w.addTo(h, fmt.Sprintf("real%d", i), "big", big)
	}
	program := buildAgent(b)
	p := newSwarm(w)
	third, all := w.hosts[2], simulatedHosts*endpointsPerHost+2
	w.eventually("the third host to know all", func() error {
		if n := countFDB(third, "vx-big"); n != all {
			return fmt.Errorf("%d of %d", n, all)
		}
		return nil
	})
	var complete, news []time.Duration
	var rss []float64
	for i := 0; b.Loop(); i++ {
		w.agents[third].Kill()
		third.Run("ip", "link", "delete", "vx-big")
		third.Run("ip", "link", "delete", "bo-big")
		begin := time.Now()
		w.agents[third] = third.Background(program, "--name", third.Name, "--etcd", w.etcdURL(), "--metrics", "127.0.0.1:9470")
		// The agent says when it is done: to look all the time would take the
		// processor from it.
		w.eventually("the repair", func() error {
			if out := w.agents[third].Output(); !strings.Contains(out, "repaired entries") {
				return errors.New(out)
			}
			return nil
		})
		complete = append(complete, time.Since(begin))
		if n := countFDB(third, "vx-big"); n != all {
			b.Fatalf("%d of %d entries\n%s", n, all, w.agents[third].Output())
		}
		rss = append(rss, peakRSS(b, w.agents[third].PID()))

		for j := range changes {
			name := fmt.Sprintf("probe%d-%d", i, j)
			begin = time.Now()
			m := w.addTo(w.hosts[0], name, "big", big)
			news = append(news, w.reached(p, name).Sub(begin))
			w.delFrom("big", big, m)
		}
	}
	slices.Sort(news)
	b.Logf("%d changes: %v", len(news), news)
	b.ReportMetric(float64(slices.Max(complete).Milliseconds()), "complete-ms")
	b.ReportMetric(float64(medianOf(news).Milliseconds()), "median-news-ms")
	b.ReportMetric(float64(slices.Max(news).Milliseconds()), "news-ms")
	b.ReportMetric(slices.Max(rss), "peak-MB")
}
