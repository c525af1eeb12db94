package cluster

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// mourned is an etcd in which the host gone, which does not live, has a block
// and a static address, and the host here another block.
func mourned(t *testing.T) (s *server, static string) {
	t.Helper()
	s = newServer(t)
	s.network("front", 7)
	static = claimKey("front", netip.MustParseAddr("10.46.0.200"))
	s.put(tinyBlock("10.46.0.4"), of("gone"), static, of("gone"), tinyBlock("10.46.0.8"), of("here"), hostKey("here"), `{"name":"here"}`)
	return s, static
}

func sweep(s *server, m *Mourner) {
	s.Helper()
	s.load(m.Client)
	if err := m.Sweep(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// What a dead host has is free when its mark has been there for the time, and
// nothing else is.
func TestADeadHostsAddressesAreFreedAfterTheTime(t *testing.T) {
	s, static := mourned(t)
	before := s.keys()
	m := &Mourner{Client: s.client("here"), After: time.Hour}
	never := &Mourner{Client: m.Client}
	sweep(s, never)
	s.expect(before)
	for range 3 {
		sweep(s, m)
		sweep(s, never)
	}
	marked := s.keys()
	if marked[key(kindDead, "gone")] == "" || len(marked) != len(before)+1 {
		t.Errorf("after the first sweeps etcd has %q", marked)
	}
	m.After = time.Nanosecond
	sweep(s, m)
	maps.DeleteFunc(before, func(k, _ string) bool { return k == tinyBlock("10.46.0.4") || k == static })
	s.expect(before)
}

// A host with nothing but a static address is missed too.
func TestAHostThatHasOnlyAStaticAddressIsMourned(t *testing.T) {
	s, _ := mourned(t)
	s.drop(tinyBlock("10.46.0.4"))
	sweep(s, &Mourner{Client: s.client("here"), After: time.Hour})
	if s.value(key(kindDead, "gone")) == "" {
		t.Errorf("etcd has %q", s.keys())
	}
}

// A host that has been back since, though this agent did not see it, is dead
// anew.
func TestASecondDeathIsCountedFromItsOwnMark(t *testing.T) {
	s, static := mourned(t)
	m := &Mourner{Client: s.client("here"), After: time.Minute}
	sweep(s, m)
	sweep(s, m)
	seen := m.seen["gone"]
	if seen.since.IsZero() {
		t.Fatalf("the mark was not seen: %+v", m.seen)
	}
	m.seen["gone"] = sighting{mark: seen.mark, since: seen.since.Add(-time.Hour)}
	s.put(key(kindDead, "gone"), `{"since":"another time"}`)
	sweep(s, m)
	if s.value(static) == "" {
		t.Error("the addresses of a host that was dead before were freed at once")
	}
	m.seen["gone"] = sighting{mark: m.seen["gone"].mark, since: seen.since.Add(-time.Hour)}
	sweep(s, m)
	if s.value(static) != "" {
		t.Error("the addresses are not free after the time")
	}
}

// An agent whose view is behind does not touch a host that lives, nor the mark
// of one that is dead, from which others count.
func TestAViewThatIsBehindHarmsNobody(t *testing.T) {
	s, _ := mourned(t)
	m := &Mourner{Client: s.loaded("here"), After: time.Hour}
	s.put(key(kindDead, "gone"), "somebody else's")
	if err := m.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if is := s.value(key(kindDead, "gone")); is != "somebody else's" {
		t.Errorf("the mark was written again: %q", is)
	}
	s.drop(key(kindDead, "gone"))
	s.put(hostKey("gone"), `{"name":"gone"}`)
	before := s.keys()
	if err := m.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _ = m.Client.Forget(t.Context(), "gone") // the view does not know that there is nothing to forget
	s.expect(before)
	s.load(m.Client)
	if _, err := m.Client.Forget(t.Context(), "gone"); err == nil || !strings.Contains(err.Error(), "alive") {
		t.Errorf("forget a living host: %v", err)
	}
	s.expect(before)
}

func TestForgetTellsHowMuchItHasFreed(t *testing.T) {
	s, _ := mourned(t)
	c := s.loaded("here")
	for _, want := range []int{2, 0} { // a block and a static address, and then nothing
		if freed, err := c.Forget(t.Context(), "gone"); err != nil || freed != want {
			t.Errorf("freed %d, %v; want %d", freed, err, want)
		}
	}
}

// What a third host has got since is not free.
func TestForgetLeavesWhatAThirdHostHasTaken(t *testing.T) {
	s, static := mourned(t)
	c := s.loaded("here")
	s.put(tinyBlock("10.46.0.4"), of("third"), static, of("third"))
	before := s.keys()
	if freed, err := c.Forget(t.Context(), "gone"); err != nil || freed > 0 {
		t.Errorf("freed %d, %v", freed, err)
	}
	s.expect(before)
}
