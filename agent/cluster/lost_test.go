package cluster

import (
	"errors"
	"maps"
	"math"
	"net/netip"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// lossy is an etcd with a network that three hosts have addresses of, and a
// client that has read it.
func lossy(t *testing.T) (s *server, c *Client, before map[string]string) {
	t.Helper()
	s = newServer(t)
	s.network("front", 7)
	s.put(tinyBlock("10.46.0.0"), of("a"), tinyBlock("10.46.0.4"), of("b"), claimKey("front", netip.MustParseAddr("10.46.0.200")), of("c"))
	return s, s.loaded("a"), s.keys()
}

func keep(s *server, c *Client, used bool) {
	s.Helper()
	if err := c.KeepNetworks(s.Context(), func(string) bool { return used }); err != nil {
		s.Error(err)
	}
}

// A network in use is made again as it was, with the addresses of all hosts.
func TestALostNetworkIsMadeAgain(t *testing.T) {
	s, c, before := lossy(t)
	s.wipe()
	s.load(c)
	keep(s, c, false)
	s.expect(map[string]string{})
	keep(s, c, true)
	s.expect(before)
	s.load(c)
	s.drop(networkKey("front"), vniKey(7))
	s.load(c) // etcd was not rewound: somebody has removed the network
	keep(s, c, false)
	if err := c.RemakeNetwork(t.Context(), "front"); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("a network that was removed: %v", err)
	}
}

// Who finds a network of the name leaves it as it is: its addresses are given
// out by others already.
func TestANetworkThatWasMadeMeanwhileStays(t *testing.T) {
	s, c, _ := lossy(t)
	s.wipe()
	s.load(c)
	s.network("front", 8)
	want := s.keys()
	keep(s, c, true)
	s.expect(want)

	c.view.networks["front"] = &Network{Name: "front", VNI: 9, Config: []byte(`{}`)}
	s.drop(networkKey("front"), vniKey(8))
	s.put(tinyBlock("10.46.0.0"), of("other"))
	s.drop(identityKey)
	s.load(c)
	keep(s, c, true)
	if owner := s.value(tinyBlock("10.46.0.0")); owner != of("other") {
		t.Errorf("a block that another has got since belongs to %s", owner)
	}
	s.load(c) // there it is
	s.drop(networkKey("front"), vniKey(9))
	s.load(c)
	keep(s, c, false)
	if err := c.RemakeNetwork(t.Context(), "front"); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("a network that was removed since: %v", err)
	}
	c.lost["front"] = &lost{network: &Network{Name: "front", VNI: 9, Config: []byte(`{}`)}, rewound: true}
	s.network("back", 9)
	if err := c.RemakeNetwork(t.Context(), "front"); !errors.Is(err, ErrVNITaken) {
		t.Errorf("a VNI that another network has got: %v", err)
	}
}

// Where etcd has the network, the owners that it has lost are written before
// anybody is given an address; who has got one since keeps it, and a network
// of another VNI is another network.
func TestTheOwnersThatABackupLacksAreRestored(t *testing.T) {
	s, c, before := lossy(t)
	s.network("back", 9)
	s.load(c)
	s.drop(tinyBlock("10.46.0.4"), claimKey("front", netip.MustParseAddr("10.46.0.200")))
	s.put(tinyBlock("10.46.0.0"), of("other"))
	c.view.age.Revision += 100
	known := c.view.age.Identity
	s.load(c)
	want := maps.Clone(before)
	want[tinyBlock("10.46.0.0")] = of("other")
	want[networkKey("back")], want[vniKey(9)] = s.value(networkKey("back")), "back"
	s.expect(want)
	if id, _, err := c.identify(t.Context()); err != nil || id == known || c.view.age.Identity != id {
		t.Errorf("etcd is known by %q, as before, or the client has %q: %v", id, c.view.age.Identity, err)
	}

	behind := newView() // others are faster than what is read
	behind.networks["front"] = c.View().Network("front")
	c.view.blocks["front"][netip.MustParsePrefix("10.46.0.0/30")] = "a"
	if err := c.restoreOwners(t.Context(), behind); err != nil || s.value(tinyBlock("10.46.0.0")) != of("other") {
		t.Errorf("a block that was given meanwhile belongs to %s, %v", s.value(tinyBlock("10.46.0.0")), err)
	}

	s.drop(tinyBlock("10.46.0.4"), networkKey("front"), vniKey(7))
	s.network("front", 8)
	c.view.age.Revision += 100
	s.load(c)
	if owner := s.value(tinyBlock("10.46.0.4")); owner != "" {
		t.Errorf("an address of the other network front belongs to %s", owner)
	}
}

// What the view shows is not removed from the kernel while the others may not
// have told etcd again.
func TestRecovery(t *testing.T) {
	s, c, _ := lossy(t)
	if !c.IsRecovering() {
		t.Error("nothing has been read, and the view is believed")
	}
	close(c.synced)
	s.load(c)
	if c.IsRecovering() {
		t.Error("etcd has lost nothing, and the view is not believed")
	}
	s.wipe()
	s.load(c)
	if !c.IsRecovering() {
		t.Error("etcd has lost everything, and the view is believed")
	}
}

// An etcd that was made anew or restored is found out by its text, by its
// revision, and by what was written last.
func TestARewoundEtcdIsFoundOut(t *testing.T) {
	s, c, _ := lossy(t)
	known := c.view.ageNow()
	if known.Identity == "" || known.Key == "" || known.Written == 0 {
		t.Fatalf("the view's age is %+v", known)
	}
	other := func(change func(*age)) age {
		a := known
		change(&a)
		return a
	}
	for name, test := range map[string]struct {
		age  age
		want bool
	}{
		"as it was read":              {known, false},
		"nothing was read":            {age{}, false},
		"another text":                {other(func(a *age) { a.Identity = "x" }), true},
		"a lower revision":            {other(func(a *age) { a.Revision += 100 }), true},
		"something else written then": {other(func(a *age) { a.Key = networkKey("front") }), true},
		"a key that there is not":     {other(func(a *age) { a.Key = networkKey("nothing") }), true},
		"a write in the future":       {other(func(a *age) { a.Written = math.MaxInt32 }), true},
		"no key":                      {other(func(a *age) { a.Key = "" }), false},
	} {
		c.view.age = test.age
		if is, _, err := c.isRewound(t.Context()); is != test.want || err != nil {
			t.Errorf("%s: %v, %v; want %v", name, is, err, test.want)
		}
	}
	s.put(hostKey("x"), `{}`, hostKey("x"), `{}`)
	if _, err := s.etcd.Compact(t.Context(), known.Revision+2, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	c.view.age = known
	if is, _, err := c.isRewound(t.Context()); is || err != nil {
		t.Errorf("what etcd has compacted: %v, %v", is, err)
	}
}
