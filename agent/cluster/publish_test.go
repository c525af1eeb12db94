package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/nettest"
)

func endpointOn(host, container string) *Endpoint {
	return &Endpoint{
		Key: endpoint.Key{Network: "front", ContainerID: container, IfName: "eth0"}, Host: host,
		MAC: "02:00:00:00:00:01", Addresses: []netip.Addr{netip.MustParseAddr("10.46.0.5")},
	}
}

// leased are the keys of endpoints and hosts with the lease of each.
func (s *server) leased() map[string]int64 {
	s.Helper()
	got, err := s.etcd.Get(s.Context(), Root, clientv3.WithPrefix())
	if err != nil {
		s.Fatal(err)
	}
	leases := map[string]int64{}
	for _, kv := range got.Kvs {
		if k := string(kv.Key); strings.HasPrefix(k, Root+kindEndpoint) || strings.HasPrefix(k, Root+kindHost) {
			leases[strings.TrimPrefix(k, Root)] = kv.Lease
		}
	}
	return leases
}

// expectLeased waits until the keys of a host are those, on the client's lease.
func (s *server) expectLeased(c *Client, keys ...string) {
	s.Helper()
	nettest.Eventually(s.TB, fmt.Sprintf("%q on the lease of %s", keys, c.self.Name), func() error {
		c.mu.Lock()
		lease := int64(c.lease)
		c.mu.Unlock()
		have := s.leased()
		maps.DeleteFunc(have, func(k string, is int64) bool { return is != lease })
		if !slices.Equal(slices.Sorted(maps.Keys(have)), slices.Sorted(slices.Values(keys))) {
			return fmt.Errorf("%v of %v", have, s.leased())
		}
		return nil
	})
}

// What an agent told before it was restarted stays until the next one has read
// its records; then what is not among them goes, and the rest is on the new
// lease. Of other hosts it touches nothing.
func TestANewAgentTakesOverWhatTheOldOneTold(t *testing.T) {
	s := newServer(t)
	s.put(hostKey("other"), `{"name":"other"}`, endpointKey(endpointOn("other", "x")), `{}`)
	first := s.client("here")
	stays, goes := endpointOn("here", "stays"), endpointOn("here", "goes")
	if err := first.SetEndpoints([]*Endpoint{stays, goes}); err != nil {
		t.Fatal(err)
	}
	stop := s.run(first)
	s.expectLeased(first, "hosts/here", "endpoints/front/here/stays/eth0", "endpoints/front/here/goes/eth0")
	stop()

	second := s.client("here")
	s.put(key(kindDead, "here"), "{}")
	s.run(second)
	s.expectLeased(second, "hosts/here")
	if s.value(key(kindDead, "here")) != "" {
		t.Error("who is alive is marked dead")
	}
	if len(s.leased()) != 5 {
		t.Errorf("before the records are read etcd has %v", s.leased())
	}
	coming := endpointOn("here", "comes") // an ADD, before the first repair
	if err := second.PublishEndpoint(coming); err != nil {
		t.Fatal(err)
	}
	s.expectLeased(second, "hosts/here", "endpoints/front/here/comes/eth0")
	if err := second.SetEndpoints([]*Endpoint{stays}); err != nil {
		t.Fatal(err)
	}
	s.expectLeased(second, "hosts/here", "endpoints/front/here/stays/eth0")
	if len(s.leased()) != 4 {
		t.Errorf("etcd has %v", s.leased())
	}
	if err := second.WithdrawEndpoint(stays); err != nil {
		t.Fatal(err)
	}
	s.expectLeased(second, "hosts/here")
}

// The first repair may be done while etcd is being told of an ADD.
func TestWhatTheOldAgentToldGoesThoughTheNewOneIsBusy(t *testing.T) {
	s := newServer(t)
	s.put(endpointKey(endpointOn("here", "goes")), `{}`)
	comes := endpointOn("here", "comes")
	var c *Client
	repair := sync.OnceValue(func() error { return c.SetEndpoints([]*Endpoint{comes}) })
	c = s.clientBy("here", func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := s.host.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return tapped{conn, func(written []byte) {
			if bytes.Contains(written, []byte("/here/comes/")) {
				_ = repair()
			}
		}}, nil
	})
	s.run(c)
	s.expectLeased(c, "hosts/here")
	if err := c.PublishEndpoint(comes); err != nil {
		t.Fatal(err)
	}
	c.AwaitPublished(t.Context(), comes)
	if err := repair(); err != nil {
		t.Fatal(err)
	}
	s.expectLeased(c, "hosts/here", "endpoints/front/here/comes/eth0")
	nettest.Eventually(t, "the other to go", func() error {
		if leased := s.leased(); len(leased) != 2 {
			return fmt.Errorf("etcd has %v", leased)
		}
		return nil
	})
}

// tapped tells of what is about to be written.
type tapped struct {
	net.Conn
	tell func(written []byte)
}

func (c tapped) Write(raw []byte) (int, error) {
	c.tell(raw)
	return c.Conn.Write(raw)
}

// A lease that ends under the agent is followed by another with all that was
// on it.
func TestALeaseThatEndsIsTakenAnew(t *testing.T) {
	s := newServer(t)
	c := s.client("here")
	c.options.TTL = 3 * time.Second // it notices within a third of that
	if err := c.SetEndpoints([]*Endpoint{endpointOn("here", "c")}); err != nil {
		t.Fatal(err)
	}
	s.run(c)
	all := []string{"hosts/here", "endpoints/front/here/c/eth0"}
	s.expectLeased(c, all...)
	c.mu.Lock()
	lease := c.lease
	c.mu.Unlock()
	s.put(identityKey, "of a backup") // which a new lease is the first to meet, on the same connection
	if _, err := s.etcd.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "another lease", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.lease == lease {
			return fmt.Errorf("it is %x still", lease)
		}
		return nil
	})
	s.expectLeased(c, all...)
	nettest.Eventually(t, "etcd to be read anew", func() error {
		if is := c.view.ageNow().Identity; is != "of a backup" {
			return errors.New(is)
		}
		return nil
	})
}

// Where etcd does not answer what is remembered is good: nobody waits longer
// than it takes to find out.
func TestWithoutEtcdAHostIsAdmitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &Client{synced: make(chan struct{}), stirred: make(chan struct{})}
		begin, admitted := time.Now(), make(chan error)
		go func() { admitted <- c.Admitted(t.Context()) }()
		synctest.Wait()
		_ = c.seen("read etcd", errors.New("no way to it"))
		if err := <-admitted; err != nil || time.Since(begin) != 0 {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}

// Who waits for an endpoint to be published is not told so before.
func TestAwaitPublished(t *testing.T) {
	s := newServer(t)
	c, e := s.client("here"), endpointOn("here", "c")
	if err := c.PublishEndpoint(e); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if c.AwaitPublished(ctx, e); ctx.Err() == nil {
		t.Error("etcd has an endpoint that nobody has written")
	}
	s.run(c)
	c.AwaitPublished(t.Context(), e)
	if s.value(endpointKey(e)) == "" {
		t.Errorf("etcd has %q", s.keys())
	}
}

// Another host of this one's name is told by its boot, and a copy of this one
// by an address that this agent never had. Who is not admitted writes nothing,
// until the other is gone.
func TestANamesakeWritesNothing(t *testing.T) {
	s := newServer(t)
	s.network("front", 7)
	for what, there := range map[string]string{
		"another host": `{"name":"here","instance":"another","address":"192.0.2.1"}`,
		"a copy":       `{"name":"here","instance":"of here","address":"192.0.2.9"}`,
	} {
		s.put(hostKey("here"), there)
		before := s.keys()
		c := s.client("here")
		stop := s.run(c)
		if err := c.Admitted(t.Context()); err == nil || !strings.Contains(err.Error(), ErrNameTaken.Error()) {
			t.Errorf("beside %s: %v", what, err)
		}
		if _, err := c.AcquireBlock(t.Context(), "front", tiny); err == nil {
			t.Errorf("beside %s it was given a block", what)
		}
		s.expect(before)
		s.drop(hostKey("here"))
		nettest.Eventually(t, "to be admitted", func() error { return c.Admitted(t.Context()) })
		stop()
		s.drop(hostKey("here"))
	}
}

// A host that has moved is no copy of itself, and reaches etcd from where it
// is now.
func TestAHostThatMovesKeepsItsName(t *testing.T) {
	s := newServer(t)
	var dials atomic.Int32
	c := s.clientBy("here", func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return s.host.Dial(ctx, network, address)
	})
	at := func(a string) Host { return Host{Name: "here", Instance: "of here", Address: netip.MustParseAddr(a)} }
	s.run(c)
	s.expectLeased(c, "hosts/here")
	before := dials.Load()
	if err := c.SetHost(at("192.0.2.2")); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "another connection", func() error {
		if dials.Load() == before {
			return fmt.Errorf("%d connections were made", before)
		}
		return nil
	})
	self, there := at("192.0.2.2"), at("192.0.2.1")
	if err := c.namesakeOf(&self, &there); err != nil {
		t.Errorf("what this agent has told before: %v", err)
	}
	nettest.Eventually(t, "the new address", func() error {
		if v := s.value(hostKey("here")); !strings.Contains(v, "192.0.2.2") {
			return fmt.Errorf("%s", v)
		}
		return nil
	})
}
