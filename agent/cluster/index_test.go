package cluster

import (
	"fmt"
	"net/netip"
	"testing"
)

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
