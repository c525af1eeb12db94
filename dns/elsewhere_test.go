package dns_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/nettest"
)

// stuck is a cluster that does not answer.
type stuck struct{ asked atomic.Int32 }

func (s *stuck) Named(ctx context.Context, _, _ string) []*dns.Endpoint {
	s.asked.Add(1)
	<-ctx.Done()
	return nil
}

func (s *stuck) At(context.Context, string, netip.Addr) *dns.Endpoint { return nil }

// Questions that wait for the cluster hold up no other, however many they are.
func TestAClusterThatIsSilentHoldsUpNoOtherQuestion(t *testing.T) {
	t.Parallel()
	const questions = 20
	w, cluster := newWorld(t), new(stuck)
	w.options.Elsewhere = cluster
	app := w.container("app")
	app.join("wide", "10.1.0.2/24", func(r *endpoint.Record) { r.Driver = "overlay" })
	conn, err := app.Dial(w.context(), "udp", dns.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, _ := query("far", wire.TypeA).Pack()
	for range questions {
		if _, err := conn.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	nettest.Eventually(t, "every question is at the cluster", func() error {
		if n := cluster.asked.Load(); n != questions {
			return fmt.Errorf("%d of %d", n, questions)
		}
		return nil
	})
	app.expect("2.0.1.10.in-addr.arpa", wire.TypePTR, "NOERROR app.wide.")
}
