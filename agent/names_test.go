package agent_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/plugins"
)

// lookup is what the resolver in a container answers.
func (m *member) lookup(w *world, name string, kind uint16) string {
	w.Helper()
	conn, err := m.Dial(w.Context(), "udp", "127.0.0.11:53")
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	q := new(wire.Msg).SetQuestion(wire.Fqdn(name), kind)
	answer, _, err := (&wire.Client{Timeout: 5 * time.Second}).ExchangeWithConn(q, &wire.Conn{Conn: conn})
	if err != nil {
		return err.Error()
	}
	text := wire.RcodeToString[answer.Rcode]
	for _, rr := range answer.Answer {
		text += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	return text
}

func (w *world) expectLookup(m *member, name string, kind uint16, want string) {
	w.Helper()
	w.eventually(m.Name+" asks for "+name, func() error {
		if got := m.lookup(w, name, kind); got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

// Names of containers on other hosts come from the cluster, and go with them
// and with their hosts.
func TestNamesOfOtherHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	named := func(req *plugins.Request) {
		req.Config = bytes.Replace(req.Config, []byte("{"), []byte(`{"names":true,`), 1)
		req.Args.Pod.Name, req.Runtime.Aliases = req.ContainerID, []string{"Alias-of-" + req.ContainerID}
	}
	here, there := w.addWith(w.hosts[0], "here", named), w.addWith(w.hosts[1], "there", named)
	for _, name := range []string{"there", "there.front", "alias-of-there"} {
		w.expectLookup(here, name, wire.TypeA, "NOERROR "+there.ips[0].String())
	}
	w.expectLookup(there, "here", wire.TypeA, "NOERROR "+here.ips[0].String())
	w.expectLookup(there, "here", wire.TypeMX, "NOERROR")
	reverse, _ := wire.ReverseAddr(there.ips[0].String())
	w.expectLookup(here, reverse, wire.TypePTR, "NOERROR there.front.")

	// What a supervisor asks for its container.
	for _, l := range []api.Lookup{{Network: "front", Name: "alias-of-there"}, {Network: "front", Address: there.ips[0]}} {
		answer, err := w.call(w.hosts[0], api.Request{Lookup: &l})
		if err != nil || len(answer.Found) != 1 || answer.Found[0].Name != "there" || answer.Found[0].Addresses[0] != there.ips[0] {
			t.Errorf("lookup of %+v: %+v, %v", l, answer, err)
		}
	}
	w.del(there)
	w.expectLookup(here, "there", wire.TypeA, "NXDOMAIN")
	again := w.addWith(w.hosts[1], "again", named)
	w.expectLookup(here, "again", wire.TypeA, "NOERROR "+again.ips[0].String())
	w.agents[w.hosts[1]].Kill()
	w.expectLookup(here, "again", wire.TypeA, "NXDOMAIN") // when its lease has ended
}
