package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/agent"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

// returningName in the environment makes this test binary that host's agent at
// the moment when it gives its networks up, at the one when etcd answers again,
// and at one when it does not. Its view is the memory of the agent before it.
const returningName = "BERTH_TEST_RETURNING"

func runReturning(name string) error {
	a, err := newAgent(name)
	if err != nil {
		return err
	}
	defer agent.Close(a)
	for _, after := range []time.Duration{time.Nanosecond, time.Hour} {
		a.ReclaimAfter = after
		if err := agent.Guard(a, context.Background()); err != nil {
			return err
		}
	}
	away, cancel := context.WithCancel(context.Background())
	cancel()
	if err := agent.KeepAddresses(a, away, true); err == nil {
		return errors.New("addresses are kept without etcd")
	}
	for _, is := range agent.Evictions(a) {
		fmt.Println("evicted:", is)
	}
	return nil
}

// What a host that comes back remembers of its addresses, or has read of them,
// may be behind. It asks etcd for each before it is on its networks again: what
// is free it takes, and who has what another has got is off, until etcd says
// otherwise. Whom the agent before it evicted it does not know.
func TestAReturningHostAsksForItsAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	h := w.hosts[0]
	var members []*member
	for i := range 3 { // of the first block's addresses one is the gateway's
		members = append(members, w.addTo(h, fmt.Sprintf("c%d", i), "tiny", tiny))
	}
	taken, free := members[0], members[2]
	if tinyBlock(taken.ips[0]) == tinyBlock(free.ips[0]) {
		t.Fatalf("%s and %s are in one block", taken.ips[0], free.ips[0])
	}
	w.agents[h].Kill()
	w.kv("put", fmt.Sprintf(`{"key":%q,"value":%q}`, key64(tinyBlock(taken.ips[0])), key64(`{"host":"h9"}`)))
	w.kv("deleterange", fmt.Sprintf(`{"key":%q}`, key64(tinyBlock(free.ips[0]))))
	h.Run("ip", "link", "set", hostEnd(free), "down")
	out, err := h.Try("/usr/bin/env", w.asAgent(h, returningName)...)
	if err != nil || !strings.Contains(out, "evicted: container c0 is off network tiny") {
		t.Errorf("the agent that comes back: %v\n%s", err, out)
	}
	for m, up := range map[*member]bool{taken: false, free: true} {
		if isUp(h, m) != up {
			t.Errorf("the host's end of %s, with %s, is up: %v", m.Name, m.ips[0], !up)
		}
	}
	if lines := w.keysBelow(tinyBlock(free.ips[0])); len(lines) != 1 || !strings.HasSuffix(lines[0], `{"host":"h1"}`) {
		t.Errorf("the block of %s: %q; want it to be h1's again", free.ips[0], lines)
	}
}

func isUp(h *nettest.Host, m *member) bool {
	return strings.Contains(h.Run("ip", "link", "show", hostEnd(m)), ",UP")
}

// hostEnd is the host's end of the pair of a container on tiny.
func hostEnd(m *member) string { return netdev.HostName("vo", "tiny", m.Name, "eth0") }
