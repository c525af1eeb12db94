package agent_test

import (
	"bytes"
	"fmt"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/plugins"
)

func (w *world) expectLookup(m *member, name string, kind uint16, want string) {
	w.Helper()
	w.eventually(m.Name+" asks for "+name, func() error {
		if got := m.LookUp("127.0.0.11:53", name, kind); got != want {
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
