package network_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/berth-net/berth/network"
)

func TestBuiltinNetworksExistWithoutAFile(t *testing.T) {
	t.Parallel()
	c, dir := catalogue(t)
	networks, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range networks {
		names = append(names, n.Name)
	}
	if want := []string{"bridge", "host", "none"}; !slices.Equal(names, want) {
		t.Errorf("networks %v, want %v", names, want)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("listing has made the directory")
	}
}

func TestCreatedNetworkIsAConflistOfOtherRuntimes(t *testing.T) {
	t.Parallel()
	c, dir := catalogue(t)
	create(t, c, network.CreateSpec{
		Name: "front", Subnets: []network.Subnet{subnet("10.1.0.0/24"), subnet("fd01::/64")},
		Labels: map[string]string{"tier": "web"}, Options: map[string]string{"com.docker.network.driver.mtu": "1400"},
	})
	list, err := libcni.NetworkConfFromFile(filepath.Join(dir, "berth-front.conflist"))
	if err != nil {
		t.Fatal(err)
	}
	if list.CNIVersion != "1.0.0" || list.Name != "front" || list.Plugins[0].Network.Type != "bridge" {
		t.Errorf("libcni reads %+v", list)
	}
	for _, want := range []string{`"mtu":1400`, `"bridge":"br-front"`, `"subnet":"10.1.0.0/24"`, `"dst":"::/0"`} {
		if !strings.Contains(string(list.Plugins[0].Bytes), want) {
			t.Errorf("plugin lacks %s: %s", want, list.Plugins[0].Bytes)
		}
	}
	n, err := c.Get("front")
	if err != nil {
		t.Fatal(err)
	}
	if n.Origin != network.Berth || n.Labels["tier"] != "web" || n.Options["com.docker.network.driver.mtu"] != "1400" {
		t.Errorf("read again: %+v", n)
	}
	if byID, err := c.Get(n.ID()[:12]); err != nil || byID.Name != "front" {
		t.Errorf("by id: %v, %v", byID, err)
	}
}

func TestNetworksShareABridgeInVLANsOfTheirOwn(t *testing.T) {
	t.Parallel()
	c, dir := catalogue(t)
	in := func(name, vlan, bridge string) network.CreateSpec {
		o := map[string]string{"vlan": vlan}
		if bridge != "" {
			o["bridge"] = bridge
		}
		return network.CreateSpec{Name: name, Options: o}
	}
	create(t, c, in("five", "5", "br1"))
	create(t, c, in("six", "6", "br1"))
	if _, err := c.Create(in("other", "6", "br1")); !errors.Is(err, network.ErrExists) || !strings.Contains(err.Error(), "VLAN 6 of bridge br1") {
		t.Errorf("one VLAN for two: %v", err)
	}
	// A bridge's name leaves room for that of the gateway's device.
	for name, want := range map[string]string{"short": `"bridge":"br-short"`, "quite-long": `"bridge":"br-`} {
		create(t, c, in(name, "4094", ""))
		list, err := libcni.NetworkConfFromFile(filepath.Join(dir, "berth-"+name+".conflist"))
		if err != nil {
			t.Fatal(err)
		}
		var conf struct{ Bridge string }
		if err := json.Unmarshal(list.Plugins[0].Bytes, &conf); err != nil || len(conf.Bridge) > 10 || !strings.Contains(string(list.Plugins[0].Bytes), want) {
			t.Errorf("%s is on bridge %q, %v", name, conf.Bridge, err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	c, dir := catalogue(t)
	create(t, c, network.CreateSpec{Name: "front", Subnets: []network.Subnet{subnet("10.1.0.0/24")}})
	sub := func(s string) []network.Subnet { return []network.Subnet{subnet(s)} }
	for name, bad := range map[string]struct {
		spec network.CreateSpec
		want error
		text string
	}{
		"taken name":         {network.CreateSpec{Name: "front"}, network.ErrExists, "berth-front.conflist"},
		"built-in name":      {network.CreateSpec{Name: "host"}, network.ErrBuiltin, "host"},
		"empty name":         {network.CreateSpec{}, network.ErrInvalid, `""`},
		"path as name":       {network.CreateSpec{Name: "../../etc/x"}, network.ErrInvalid, "../../etc/x"},
		"slash in name":      {network.CreateSpec{Name: "a/b"}, network.ErrInvalid, "a/b"},
		"dot name":           {network.CreateSpec{Name: ".."}, network.ErrInvalid, ".."},
		"newline in name":    {network.CreateSpec{Name: "a\nb"}, network.ErrInvalid, `a\nb`},
		"zero byte in name":  {network.CreateSpec{Name: "a\x00b"}, network.ErrInvalid, `a\x00b`},
		"long name":          {network.CreateSpec{Name: strings.Repeat("a", 129)}, network.ErrInvalid, "128"},
		"unknown driver":     {network.CreateSpec{Name: "x", Driver: "ipvlan"}, network.ErrInvalid, "bridge, host, macvlan, none, overlay"},
		"unknown option":     {network.CreateSpec{Name: "x", Options: map[string]string{"colour": "red"}}, network.ErrInvalid, "masquerade"},
		"option twice":       {network.CreateSpec{Name: "x", Options: map[string]string{"mtu": "1400", "com.docker.network.driver.mtu": "1400"}}, network.ErrInvalid, "same"},
		"bad option value":   {network.CreateSpec{Name: "x", Options: map[string]string{"mtu": "big"}}, network.ErrInvalid, "65535"},
		"hostile bridge":     {network.CreateSpec{Name: "x", Options: map[string]string{"bridge": "../x"}}, network.ErrInvalid, "../x"},
		"bridge of another":  {network.CreateSpec{Name: "x", Options: map[string]string{"bridge": "br-front"}}, network.ErrExists, "front"},
		"host bits":          {network.CreateSpec{Name: "x", Subnets: sub("10.2.0.1/24")}, network.ErrInvalid, "10.2.0.0/24"},
		"multicast":          {network.CreateSpec{Name: "x", Subnets: sub("224.0.0.0/24")}, network.ErrInvalid, "224"},
		"overlap":            {network.CreateSpec{Name: "x", Subnets: sub("10.1.0.128/25")}, network.ErrInvalid, "front"},
		"overlap of its own": {network.CreateSpec{Name: "x", Subnets: append(sub("10.3.0.0/24"), subnet("10.3.0.0/25"))}, network.ErrInvalid, "overlaps"},
		"gateway outside": {network.CreateSpec{Name: "x", Subnets: []network.Subnet{{
			Subnet: netip.MustParsePrefix("10.4.0.0/24"), Gateway: netip.MustParseAddr("10.5.0.1")}}}, network.ErrInvalid, "10.5.0.1"},
		"subnet of none": {network.CreateSpec{Name: "x", Driver: "none", Subnets: sub("10.6.0.0/24")}, network.ErrInvalid, "no addresses"},
		"CNI version":    {network.CreateSpec{Name: "x", CNIVersion: "0.1.0"}, network.ErrInvalid, "1.1.0"},
		"IPAM as path":   {network.CreateSpec{Name: "x", IPAM: "../../bin/sh"}, network.ErrInvalid, "plain name"},
		"label":          {network.CreateSpec{Name: "x", Labels: map[string]string{"a\nb": "c"}}, network.ErrInvalid, "label"},
	} {
		_, err := c.Create(bad.spec)
		if !errors.Is(err, bad.want) || !strings.Contains(fmt.Sprint(err), bad.text) {
			t.Errorf("%s: error %v, want %v with %q", name, err, bad.want, bad.text)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("refused networks have left %v", entries)
	}
}

// Two catalogues stand for two processes: locks are of open files.
func TestConcurrentCreatesShareNoSubnetAndNoName(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	const workers, each = 8, 4
	var wins sync.Map
	var wg sync.WaitGroup
	for w := range workers {
		c := open(t, root)
		wg.Go(func() {
			for i := range each {
				if _, err := c.Create(network.CreateSpec{Name: fmt.Sprintf("w%d-%d", w, i), IPv6: true}); err != nil {
					t.Error(err)
				}
				_, err := c.Create(network.CreateSpec{Name: fmt.Sprintf("shared%d", i)})
				if err == nil {
					if _, twice := wins.LoadOrStore(i, w); twice {
						t.Errorf("name shared%d was given twice", i)
					}
				} else if !errors.Is(err, network.ErrExists) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	networks, err := open(t, root).List()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Prefix]string{}
	for _, n := range networks {
		for _, s := range n.Subnets {
			if other := seen[s.Subnet]; other != "" {
				t.Errorf("%s and %s both have %s", n.Name, other, s.Subnet)
			}
			seen[s.Subnet] = n.Name
		}
	}
	if want := workers*each*2 + each; len(seen) != want {
		t.Errorf("%d subnets, want %d", len(seen), want)
	}
}

func TestACrashBeforeTheRenameLeavesNothing(t *testing.T) {
	t.Parallel()
	c, dir := catalogue(t)
	create(t, c, network.CreateSpec{Name: "a"})
	leftover := filepath.Join(dir, ".berth-berth-b.conflist.tmp")
	if err := os.WriteFile(leftover, []byte(`{"name":"b","plug`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get("b"); !errors.Is(err, network.ErrNoNetwork) {
		t.Errorf("half a network is listed: %v", err)
	}
	files, err := libcni.ConfFiles(dir, []string{".conf", ".conflist", ".json"})
	if err != nil || len(files) != 1 {
		t.Errorf("another runtime reads %v, %v", files, err)
	}
	create(t, c, network.CreateSpec{Name: "b"})
	if _, err := os.Stat(leftover); err == nil {
		t.Error("the leftover is still there")
	}
}

func TestForeignAndBrokenFiles(t *testing.T) {
	t.Parallel()
	c, dir := catalogue(t)
	create(t, c, network.CreateSpec{Name: "mine"})
	for name, content := range map[string]string{
		"10-pods.conflist":   `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge","ipam":{"type":"host-local","subnet":"10.9.0.0/16"}},{"type":"portmap"}]}`,
		"20-old.conf":        `{"cniVersion":"0.3.1","name":"old","type":"ptp"}`,
		"30-broken.conflist": `{"name":`,
		"40-evil.conflist":   `{"cniVersion":"1.0.0","name":"../../evil","plugins":[{"type":"bridge"}]}`,
		"50-sh.conflist":     `{"cniVersion":"1.0.0","name":"sh","plugins":[{"type":"../../bin/sh"}]}`,
		"60-again.conflist":  `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"ptp"}]}`,
		"70-host.conflist":   `{"cniVersion":"1.0.0","name":"host","plugins":[{"type":"ptp"}]}`,
		"80-none.conflist":   `{"cniVersion":"1.0.0","name":"empty","plugins":[]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	networks, err := c.List()
	got := map[string]string{}
	for _, n := range networks {
		got[n.Name] = n.Driver
	}
	want := map[string]string{"bridge": "bridge", "host": "host", "none": "none", "mine": "bridge", "pods": "bridge", "old": "ptp"}
	if !maps.Equal(got, want) {
		t.Errorf("networks %v, want %v", got, want)
	}
	for _, file := range []string{"30-broken", "40-evil", "50-sh", "60-again", "70-host", "80-none"} {
		if !strings.Contains(fmt.Sprint(err), file) {
			t.Errorf("no word of %s: %v", file, err)
		}
	}
	if err := c.Remove(t.Context(), "pods"); !errors.Is(err, network.ErrForeign) {
		t.Errorf("removing another's network: %v", err)
	}
	if _, err := c.Create(network.CreateSpec{Name: "x", Subnets: []network.Subnet{subnet("10.9.3.0/24")}}); !errors.Is(err, network.ErrInvalid) {
		t.Errorf("a subnet of another's network: %v", err)
	}
}

func TestInternalNetworkHasNoDefaultRoute(t *testing.T) {
	t.Parallel()
	c, _ := catalogue(t)
	n := create(t, c, network.CreateSpec{Name: "db", Internal: true, IPv6: true})
	if text := string(n.Config); strings.Contains(text, "0.0.0.0/0") || strings.Contains(text, "::/0") || !n.Internal {
		t.Errorf("internal %v: %s", n.Internal, text)
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	n := &network.Network{Name: "front", Driver: "bridge", Origin: network.Berth, Labels: map[string]string{"tier": "web", "env": "test"}}
	for filters, want := range map[string]bool{
		"":                             true,
		"name=ron":                     true,
		"name=back":                    false,
		"driver=macvlan":               false,
		"driver=macvlan driver=bridge": true,
		"label=tier":                   true,
		"label=tier=db":                false,
		"label=tier=web label=env":     true,
		"label=tier label=none":        false,
		"type=custom name=front":       true,
		"type=builtin":                 false,
	} {
		f, err := network.ParseFilters(strings.Fields(filters))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match(n); got != want {
			t.Errorf("%q: %v, want %v", filters, got, want)
		}
	}
	for _, bad := range []string{"colour=red", "name", "name=", "=x"} {
		if _, err := network.ParseFilters([]string{bad}); !errors.Is(err, network.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Its containers are machines of the DHCP server's segment.
func TestABridgeWithDHCPIsNoGateway(t *testing.T) {
	t.Parallel()
	c, _ := catalogue(t)
	n := create(t, c, network.CreateSpec{Name: "lan", IPAM: "dhcp", Options: map[string]string{"bridge": "br0"}})
	conf := string(n.Config)
	for _, key := range []string{"isGateway", "ipMasq", "ranges"} {
		if strings.Contains(conf, key) {
			t.Errorf("%s is in %s", key, conf)
		}
	}
	if !strings.Contains(conf, `"dhcp"`) || !strings.Contains(conf, `"br0"`) {
		t.Errorf("configuration %s", conf)
	}
}
