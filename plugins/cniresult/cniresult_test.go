package cniresult

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
)

func sample() *plugins.Result {
	table, scope := 100, 253
	return &plugins.Result{
		Interfaces: []plugins.Interface{
			{Name: "br0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MTU: 1500},
			{Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, MTU: 1450, Sandbox: "/run/netns/c"},
		},
		IPs: []plugins.IP{
			{Interface: 1, Address: netip.MustParsePrefix("10.1.0.2/24"), Gateway: netip.MustParseAddr("10.1.0.1")},
			{Interface: -1, Address: netip.MustParsePrefix("fd00::2/64")},
		},
		Routes: []plugins.Route{
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.1.0.1")},
			{Dst: netip.MustParsePrefix("fd01::/64"), MTU: 1280, AdvMSS: 1220, Priority: 7, Table: &table, Scope: &scope},
		},
		DNS: plugins.DNS{Nameservers: []string{"10.1.0.1"}, Search: []string{"example.org"}},
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	raw, err := Encode(sample(), "1.1.0")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if want := sample(); !reflect.DeepEqual(got, want) {
		t.Errorf("after a round trip:\n%+v\nwant\n%+v", got, want)
	}
}

func TestEveryVersionKeepsAddresses(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		raw, err := Encode(sample(), version)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		got, err := Decode(raw)
		if err != nil {
			t.Fatalf("%s: %v\n%s", version, err, raw)
		}
		for i, ip := range sample().IPs {
			if got.IPs[i].Address != ip.Address {
				t.Errorf("%s: address %v, want %v", version, got.IPs[i].Address, ip.Address)
			}
		}
	}
}

func TestEveryVersionTakesAResultWithoutAddresses(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		raw, err := Encode(&plugins.Result{DNS: sample().DNS}, version)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		got, err := Decode(raw)
		if err != nil || !reflect.DeepEqual(got.DNS, sample().DNS) {
			t.Errorf("%s: %+v, %v from %s", version, got, err, raw)
		}
	}
}

// TestTheNewVersionsAreTheLibrarys holds what we write ourselves to what the
// CNI project's types write.
func TestTheNewVersionsAreTheLibrarys(t *testing.T) {
	t.Parallel()
	zero := 0
	for name, r := range map[string]*plugins.Result{
		"whole": sample(), "empty": {}, "only DNS": {DNS: plugins.DNS{Options: []string{"ndots:1"}, Domain: "<x>"}},
		"strange": {
			Interfaces: []plugins.Interface{{SocketPath: "/s", PCIID: "0000:00:1f.6"}},
			Routes:     []plugins.Route{{Dst: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("fe80::1"), Table: &zero}},
		},
	} {
		for _, version := range []string{"1.0.0", "1.1.0"} {
			own, err := encodeNew(r, version)
			if err != nil {
				t.Fatal(err)
			}
			librarys, err := encodeOld(r, version)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := errors.Join(json.Unmarshal(own, &got), json.Unmarshal(librarys, &want)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s in version %s:\n%s\nof the library\n%s", name, version, own, librarys)
			}
		}
	}
}

func TestNewsStayOutOfOlderVersions(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0"} {
		raw, err := Encode(sample(), version)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"mtu", "advmss", "priority", "table", "scope"} {
			if strings.Contains(string(raw), `"`+key+`"`) {
				t.Errorf("%s has no key %q: %s", version, key, raw)
			}
		}
	}
}

func TestHostileResultsAreRefused(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{`:                      "decode result",
		`{"cniVersion":"9.9.9"}`: "9.9.9",
		`{"cniVersion":"1.0.0","interfaces":[null]}`:                                   "null",
		`{"cniVersion":"1.0.0","ips":[null]}`:                                          "null",
		`{"cniVersion":"1.0.0","routes":[null]}`:                                       "null",
		`{"cniVersion":"1.0.0","interfaces":[{"name":"e","mac":"xx"}]}`:                `"e"`,
		`{"cniVersion":"1.0.0","ips":[{"interface":3,"address":"10.0.0.1/24"}]}`:       "interface 3",
		`{"cniVersion":"1.0.0","interfaces":[{"name":"e"}],"ips":[{"address":"abc"}]}`: "abc",
	} {
		if _, err := Decode([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", raw, err, want)
		}
	}
}
