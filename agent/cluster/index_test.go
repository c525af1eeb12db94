package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// Two endpoints claim an address and a name while a container moves; the
// newest holds them, and when it goes the other does again.
func TestWhatTwoEndpointsClaimIsTheNewests(t *testing.T) {
	t.Parallel()
	v := newView()
	put := func(key, value string, revision int64) (c Change) {
		t.Helper()
		if err := v.put(key, []byte(value), revision, &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	put(networkKey("front"), `{"name":"front","vni":1,"config":{}}`, 1)
	for i, host := range []string{"h1", "h2", "h3"} {
		put(hostKey(host), fmt.Sprintf(`{"name":%q,"address":"192.0.2.%d"}`, host, i+1), 1)
	}
	const claims = `{"mac":"02:00:00:00:00:01","name":"Web","aliases":["www.front"],"addresses":["10.0.0.1"]}`
	at := func(host string) string { return key(kindEndpoint, "front", host, "c1", "eth0") }
	expect := func(want string, hosts ...string) {
		t.Helper()
		vtep, _ := v.Way("front", "02:00:00:00:00:01", "self")
		var named []string
		for _, name := range []string{"web", "web.front", "www.front", "www.front.front", "c1.front"} {
			named = nil
			for _, e := range v.Named("front", name, "self") {
				named = append(named, e.Host)
			}
			if slices.Sort(named); !slices.Equal(named, hosts) {
				t.Errorf("%s is on %q, want %q", name, named, hosts)
			}
		}
		if e := v.At("front", netip.MustParseAddr("10.0.0.1"), "self"); vtep.String() != want || v.Host(e.Host).Address != vtep {
			t.Errorf("the MAC is at %s, want %s; the address on %+v", vtep, want, e)
		}
	}
	put(at("h1"), claims, 5)
	expect("192.0.2.1", "h1")
	put(at("h2"), claims, 9)
	put(at("h3"), claims, 7)
	expect("192.0.2.2", "h1", "h2", "h3")
	if err := v.drop(at("h2"), new(Change)); err != nil {
		t.Fatal(err)
	}
	expect("192.0.2.3", "h1", "h3")
	if err := v.drop(at("h1"), new(Change)); err != nil {
		t.Fatal(err)
	}
	expect("192.0.2.3", "h3")
	if c := put(hostKey("h3"), `{"name":"h3","address":"192.0.2.3"}`, 10); len(c.Hosts) > 0 {
		t.Errorf("a host that says the same again has changed: %+v", c)
	}
	if c := put(hostKey("h3"), `{"name":"h3","address":"192.0.2.4"}`, 11); len(c.Hosts) != 1 {
		t.Errorf("a host that has moved has not changed: %+v", c)
	}
	expect("192.0.2.4", "h3")
}

// An encrypted network has a way to hosts with a place in the mesh only; the
// same hosts are reached on a network in clear.
func TestAnEncryptedNetworkHasNoWayOutsideTheMesh(t *testing.T) {
	t.Parallel()
	v := newView()
	put := func(key, value string) {
		t.Helper()
		if err := v.put(key, []byte(value), 1, new(Change)); err != nil {
			t.Fatal(err)
		}
	}
	put(hostKey("new"), `{"name":"new","address":"192.0.2.1","key":"AAAA","port":51840,"tunnel":"fe80::1"}`)
	put(hostKey("old"), `{"name":"old","address":"192.0.2.2"}`)
	macs, addrs := map[string]string{"new": "02:00:00:00:00:01", "old": "02:00:00:00:00:02"}, map[string]string{"new": "10.0.0.1", "old": "10.0.0.2"}
	for _, network := range []string{"plain", "secret"} {
		for host := range macs {
			put(key(kindEndpoint, network, host, "c", "eth0"), fmt.Sprintf(`{"mac":%q,"addresses":[%q]}`, macs[host], addrs[host]))
		}
	}
	expect := func(network, host, want string) {
		t.Helper()
		vtep, ok := v.Way(network, macs[host], "self")
		_, known := v.Holder(network, netip.MustParseAddr(addrs[host]), "self")
		f := v.Forwarding(network, "self")
		if want == "" {
			if ok || known || f.Ways[macs[host]].IsValid() || f.Neighbours[netip.MustParseAddr(addrs[host])] != "" {
				t.Errorf("%s has a way to %s: %s, %+v", network, host, vtep, f)
			}
		} else if !ok || !known || vtep.String() != want || f.Ways[macs[host]] != vtep {
			t.Errorf("%s reaches %s by %s, want %s: %+v", network, host, vtep, want, f)
		}
	}
	expect("secret", "new", "") // nobody has said yet whether the network is encrypted
	put(networkKey("plain"), `{"name":"plain","vni":1,"config":{}}`)
	put(networkKey("secret"), `{"name":"secret","vni":2,"config":{"encrypted":true}}`)
	expect("plain", "new", "192.0.2.1")
	expect("plain", "old", "192.0.2.2")
	expect("secret", "new", "fe80::1")
	expect("secret", "old", "")
	if err := v.put(networkKey("broken"), []byte(`{"name":"broken","vni":3,"config":{"encrypted":"yes"}}`), 1, new(Change)); err == nil {
		t.Error("a network that may be encrypted or not is taken")
	}
}

// What is on this host is not behind a tunnel, and what comes before its host
// or its network is ahead of the view.
func TestOneViewOfEveryHost(t *testing.T) {
	t.Parallel()
	v := newView()
	put := func(key, value string) {
		t.Helper()
		if err := v.put(key, []byte(value), 1, new(Change)); err != nil {
			t.Fatal(err)
		}
	}
	const mac = "02:00:00:00:00:01"
	addr, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	at := key(kindEndpoint, "front", "h1", "c1", "eth0")
	put(at, fmt.Sprintf(`{"mac":%q,"addresses":[%q]}`, mac, other))
	put(at, fmt.Sprintf(`{"mac":%q,"addresses":[%q]}`, mac, addr))
	for step, put := range []func(){
		func() {},
		func() { put(hostKey("h1"), `{"name":"h1","address":"192.0.2.1"}`) },
		func() { put(networkKey("front"), `{"name":"front","vni":1,"config":{}}`); delete(v.hosts, "h1") },
	} {
		if put(); !v.IsAhead("front", mac, "h2") || v.IsAhead("front", mac, "h1") {
			t.Errorf("step %d: of another host it is ahead: %v, of its own: %v; want the first", step, v.IsAhead("front", mac, "h2"), v.IsAhead("front", mac, "h1"))
		}
	}
	put(hostKey("h1"), `{"name":"h1","address":"192.0.2.1","tunnel":"fe80::1"}`)
	if v.IsAhead("front", mac, "h2") {
		t.Error("it is ahead of what is complete")
	}
	for self, want := range map[string]bool{"h1": false, "h2": true} {
		_, way := v.Way("front", mac, self)
		_, holder := v.Holder("front", addr, self)
		f := v.Forwarding("front", self)
		if way != want || holder != want || len(f.Ways) == 1 != want || len(f.Neighbours) == 1 != want || len(v.Members([]string{"front"}, self)) == 1 != want {
			t.Errorf("seen from %s: a way %v, a holder %v, %+v, members %v; want %v", self, way, holder, f, v.Members([]string{"front"}, self), want)
		}
	}
	if _, ok := v.Holder("front", other, "h2"); ok {
		t.Errorf("%s is somebody's still", other)
	}
	put(networkKey("front"), `{"name":"front","vni":1,"config":{"encrypted":true}}`)
	if _, ok := v.Way("front", mac, "h2"); ok {
		t.Error("an encrypted network has a way to a host without a key")
	}
}
