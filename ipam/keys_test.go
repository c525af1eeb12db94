package ipam_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
)

func TestSingleRangeOfOldConfigurations(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"host-local","subnet":"10.1.0.0/24","rangeStart":"10.1.0.20","rangeEnd":"10.1.0.29","gateway":"10.1.0.254",
		"ranges":[[{"subnet":"fd01::/64"}]]}`)
	expect(t, b.lease("a"), "10.1.0.20/24 fd01::2/64")
	if g := b.config.Ranges[0][0].Gateway.String(); g != "10.1.0.254" {
		t.Errorf("gateway %s", g)
	}
}

func TestRangesOfTheRuntimeComeFirst(t *testing.T) {
	t.Parallel()
	c, err := ipam.ParseWith([]byte(`{"type":"host-local","subnet":"10.1.0.0/24"}`), []byte(`[[{"subnet":"10.2.0.0/24"}]]`))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ranges) != 2 || c.Ranges[0][0].Subnet.String() != "10.2.0.0/24" {
		t.Errorf("ranges %v", c.Ranges)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	c := parse(t, `{"type":"host-local","subnet":"10.1.0.0/24","routes":[{"dst":"0.0.0.0/0"},
		{"dst":"192.0.2.9/24","gw":"10.1.0.5","mtu":1400,"advmss":1360,"priority":7,"table":100,"scope":253}]}`)
	if len(c.Routes) != 2 || c.Routes[0].Dst.String() != "0.0.0.0/0" || c.Routes[0].Gateway.IsValid() {
		t.Fatalf("routes %v", c.Routes)
	}
	r := c.Routes[1]
	if r.Dst.String() != "192.0.2.0/24" || r.Gateway.String() != "10.1.0.5" || r.MTU != 1400 || r.AdvMSS != 1360 ||
		r.Priority != 7 || *r.Table != 100 || *r.Scope != 253 {
		t.Errorf("route %+v", r)
	}
}

func TestResolvConf(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# a comment\n; another\nnameserver 192.0.2.53\nnameserver 2001:db8::53\ndomain example.org\nsearch a.example b.example\noptions ndots:2 edns0\nnameserver\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := parse(t, `{"type":"host-local","subnet":"10.1.0.0/24","resolvConf":"`+path+`"}`)
	want := plugins.DNS{
		Nameservers: []string{"192.0.2.53", "2001:db8::53"}, Domain: "example.org",
		Search: []string{"a.example", "b.example"}, Options: []string{"ndots:2", "edns0"},
	}
	if !reflect.DeepEqual(c.DNS, want) {
		t.Errorf("DNS %+v, want %+v", c.DNS, want)
	}
}

func TestDataDirIsReportedAsUnused(t *testing.T) {
	t.Parallel()
	c := parse(t, `{"type":"host-local","subnet":"10.1.0.0/24","dataDir":"/var/lib/elsewhere"}`)
	if !slices.Equal(c.Unused, []string{"dataDir"}) {
		t.Errorf("unused keys %q", c.Unused)
	}
}

func TestOtherPluginsKeysAreTheirOwn(t *testing.T) {
	t.Parallel()
	c := parse(t, `{"type":"dhcp","ranges":"whatever"}`)
	if c.Embedded() || c.Type != "dhcp" || len(c.Ranges) != 0 {
		t.Errorf("config %+v", c)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{`:                       "ipam",
		`{"subnet":"10.0.0.0/8"}`: `"type"`,
		`{"type":"berth-ipam"}`:   `"ranges"`,
		`{"type":"berth-ipam","rangeStart":"10.0.0.1"}`:                                                                                     `"subnet"`,
		`{"type":"berth-ipam","ranges":[[]]}`:                                                                                               "ranges[0]",
		`{"type":"berth-ipam","ranges":[[{}]]}`:                                                                                             "ranges[0][0].subnet",
		`{"type":"berth-ipam","subnet":"10.0.0.1/24"}`:                                                                                      "host bits",
		`{"type":"berth-ipam","subnet":"::ffff:10.0.0.0/104"}`:                                                                              "IPv4",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","rangeStart":"10.0.1.1"}`:                                                              "rangeStart",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","rangeEnd":"fd00::1"}`:                                                                 "rangeEnd",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.3"}`:                                        "rangeEnd",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","gateway":"fd00::1"}`:                                                                  "gateway",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","gateway":"fe80::1%eth0"}`:                                                             "gateway",
		`{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/24"},{"subnet":"fd00::/64"}]]}`:                                                "family",
		`{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/24"}],[{"subnet":"10.0.0.0/16"}]]}`:                                            "ranges[1][0]",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","routes":[{"dst":"x"}]}`:                                                               "routes[0].dst",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","routes":[{"dst":"::/0","gw":"10.0.0.1"}]}`:                                            "routes[0].gw",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","exclude":["10.0.0.9-10.0.0.3"]}`:                                                      "exclude",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","reservations":[{"address":"10.0.1.3","name":"a"}]}`:                                   "reservations[0].address",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","reservations":[{"address":"10.0.0.3"}]}`:                                              "reservations[0].name",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","reservations":[{"address":"10.0.0.3","mac":"zz"}]}`:                                   "reservations[0].mac",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","reservations":[{"address":"10.0.0.3","name":"a"},{"address":"10.0.0.3","name":"b"}]}`: "twice",
		`{"type":"berth-ipam","subnet":"10.0.0.0/24","resolvConf":"/no/such/file"}`:                                                         "resolvConf",
	} {
		_, err := ipam.Parse([]byte(config))
		var coded *plugins.Error
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &coded) || coded.Code != plugins.CodeInvalidConfig {
			t.Errorf("%s: %v, want an error with code 7 that names %s", config, err, want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","exclude":["10.0.0.8/30"],"ranges":[[{"subnet":"10.0.0.0/28"}],[{"subnet":"fd00::/64"}]],
		"reservations":[{"address":"10.0.0.5","name":"db"}]}`)
	b.lease("a")
	for _, req := range []ipam.Request{{Key: key("b"), Name: "db"}} {
		if _, err := b.try(req); err != nil {
			t.Fatal(err)
		}
	}
	usage := ipam.Usages(b.config, b.holdings(), nil)
	// Of 14 hosts: the gateway, four excluded, one reserved.
	if u := usage[0]; u.Size.String() != "8" || u.Used != 2 || u.Free.String() != "7" {
		t.Errorf("IPv4: size %v, used %d, free %v; want 8, 2, 7", u.Size, u.Used, u.Free)
	}
	if u := usage[1]; u.Size.String() != "18446744073709551614" || u.Used != 2 || u.Free.String() != "18446744073709551612" {
		t.Errorf("IPv6: size %v, used %d, free %v", u.Size, u.Used, u.Free)
	}
}
