package cniresult_test

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/cniresult"
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
	raw, err := cniresult.Encode(sample(), "1.1.0")
	if err != nil {
		t.Fatal(err)
	}
	got, err := cniresult.Decode(raw)
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
		raw, err := cniresult.Encode(sample(), version)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		got, err := cniresult.Decode(raw)
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
		raw, err := cniresult.Encode(&plugins.Result{DNS: sample().DNS}, version)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		got, err := cniresult.Decode(raw)
		if err != nil || !reflect.DeepEqual(got.DNS, sample().DNS) {
			t.Errorf("%s: %+v, %v from %s", version, got, err, raw)
		}
	}
}

func TestNewsStayOutOfOlderVersions(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0"} {
		raw, err := cniresult.Encode(sample(), version)
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
		if _, err := cniresult.Decode([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", raw, err, want)
		}
	}
}
