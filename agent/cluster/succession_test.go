package cluster

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// renamed is an etcd in which this host has a block, a static address and an
// endpoint by the name a, and the file by which its agent remembered that.
func renamed(t *testing.T) (s *server, static, memory string) {
	t.Helper()
	s = newServer(t)
	s.network("front", 7)
	static, memory = claimKey("front", netip.MustParseAddr("10.46.0.200")), filepath.Join(t.TempDir(), "cluster.json")
	s.put(tinyBlock("10.46.0.0"), of("a"), static, of("a"), tinyBlock("10.46.0.4"), of("other"), hostKey("other"), `{"name":"other"}`)
	a := s.client("a")
	a.self.Instance = "of this boot"
	if err := errors.Join(a.SetHost(a.self), a.SetEndpoints([]*Endpoint{endpointOn("a", "c1")})); err != nil {
		t.Fatal(err)
	}
	stop := s.run(a)
	s.expectLeased(a, "hosts/a", "endpoints/front/a/c1/eth0")
	if err := a.Remember(memory); err != nil {
		t.Fatal(err)
	}
	stop()
	return s, static, memory
}

// heir is the next agent of that host, by another name.
func (s *server) heir(name, memory string, change func(*Host)) *Client {
	s.Helper()
	c := s.client(name)
	h := c.self
	h.Instance = "of this boot"
	change(&h)
	c.self = h // what was told before it was changed nobody has heard
	if err := errors.Join(c.SetHost(h), c.Recall(memory)); err != nil {
		s.Fatal(err)
	}
	return c
}

// What a host has by one name is its own by the next, as soon as its agent has
// read the cluster, and the others are told in one step.
func TestAHostIsRenamed(t *testing.T) {
	s, static, memory := renamed(t)
	s.put(key(kindDead, "a"), `{}`)
	b := s.heir("b", memory, func(*Host) {})
	s.run(b)
	if s.value(tinyBlock("10.46.0.0")) != of("b") || s.value(static) != of("b") || s.value(tinyBlock("10.46.0.4")) != of("other") || s.value(key(kindDead, "a")) != "" {
		t.Errorf("etcd has %q", s.keys())
	}
	if blocks := b.BlocksOf("front"); len(blocks) != 1 || b.View().Host("a") != nil || len(b.View().Endpoints("front")) != 0 {
		t.Errorf("b has the blocks %s, and sees %v and %v", blocks, b.View().Hosts(), b.View().Endpoints("front"))
	}
	nettest.Eventually(t, "a lease", func() error { return b.Admitted(t.Context()) })
	if err := b.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if leased := slices.Sorted(maps.Keys(s.leased())); !slices.Equal(leased, []string{"endpoints/front/a/c1/eth0", "hosts/a", "hosts/other"}) {
		t.Errorf("before the records are read etcd has %q", leased)
	}
	if len(b.names()) != 1 {
		t.Errorf("b goes by %v still", b.names())
	}
	before := s.revision()
	if err := b.SetEndpoints([]*Endpoint{endpointOn("b", "c1")}); err != nil {
		t.Fatal(err)
	}
	s.expectLeased(b, "hosts/b", "endpoints/front/b/c1/eth0")
	if leased := s.leased(); len(leased) != 3 || s.revision() != before+1 {
		t.Errorf("after %d steps etcd has %v", s.revision()-before, leased)
	}
}

// An agent that was killed while it took over, or before it remembered that, is
// followed by one of a third name, or of the first again.
func TestARenamedHostIsRenamedAgain(t *testing.T) {
	s, static, memory := renamed(t)
	s.load(s.heir("b", memory, func(*Host) {}))
	s.put(tinyBlock("10.46.0.0"), of("a"))
	for _, name := range []string{"c", "a"} {
		s.load(s.heir(name, memory, func(*Host) {}))
		if s.value(tinyBlock("10.46.0.0")) != of(name) || s.value(static) != of(name) {
			t.Errorf("%s: etcd has %q", name, s.keys())
		}
	}
}

// Nothing is taken from a host that lives: neither by a copy of it, nor from
// another machine that has got the name since.
func TestTheNameOfALivingHostIsNotTakenOver(t *testing.T) {
	s, _, memory := renamed(t)
	before := s.keys()
	copied := s.heir("b", memory, func(h *Host) { h.Address = netip.MustParseAddr("192.0.2.9") })
	s.load(copied)
	s.expect(before)
	s.drop(hostKey("a"), endpointKey(endpointOn("a", "c1"))) // the original is away
	before = s.keys()
	s.load(copied)
	s.load(s.heir("c", memory, func(h *Host) { h.Address = netip.MustParseAddr("192.0.2.9") }))
	s.expect(before)
	s.put(hostKey("a"), `{"name":"a","instance":"of another boot","address":"192.0.2.1"}`)
	before = s.keys()
	s.load(s.heir("d", memory, func(*Host) {}))
	s.expect(before)
}

// Where another host has the new name this one has neither, and its containers
// are not evicted for that; when the name is free they are its own.
func TestARenamedHostWaitsForItsName(t *testing.T) {
	s, static, memory := renamed(t)
	s.put(hostKey("b"), `{"name":"b","instance":"of another boot","address":"192.0.2.7"}`)
	b := s.heir("b", memory, func(*Host) {})
	before := s.keys()
	s.load(b)
	s.expect(before)
	if err := b.AcquireAddress(t.Context(), "front", tiny, netip.MustParseAddr("10.46.0.1")); !errors.Is(err, ErrSucceeding) {
		t.Errorf("an address of the former name: %v", err)
	}
	if err := b.SetEndpoints(nil); err != nil {
		t.Fatal(err)
	}
	s.run(b)
	s.drop(hostKey("b"))
	s.expectLeased(b, "hosts/b")
	nettest.Eventually(t, "b to take over", func() error {
		if s.value(static) != of("b") || s.value(hostKey("a")) != "" {
			return fmt.Errorf("etcd has %q", s.keys())
		}
		return nil
	})
}
