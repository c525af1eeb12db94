package agent_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// BenchmarkConvergence is the time from ADD's return on one host until a
// container on another has connected for the first time.
func BenchmarkConvergence(b *testing.B) {
	w := newWorld(b, 2)
	client := w.add(w.hosts[1], "client")
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		m := w.add(w.hosts[0], fmt.Sprintf("c%d", i))
		begin := time.Now()
		m.ServeHTTP(netip.AddrPortFrom(m.ips[0], 80).String())
		for {
			if _, err := client.TryGet("http://" + m.ips[0].String()); err == nil {
				break
			}
		}
		took = append(took, time.Since(begin))
		w.del(m)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
