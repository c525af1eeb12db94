package conformance

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/test/upstream"
)

// The CNI project's own IPAM plugins give the addresses of our drivers. Its
// dhcp, which needs a server on the segment, is tested in agent/dhcp.
func TestIPAMPluginsOfTheCNIProject(t *testing.T) {
	t.Parallel()
	dir, err := upstream.Plugins("ipam/static", "ipam/host-local")
	if err != nil {
		t.Fatal(err)
	}
	for _, base := range []driver{
		{name: "bridge", keys: `"bridge": "br0", "isGateway": true, "ipMasq": true`},
		{name: "macvlan", keys: `"master": "ext0"`},
	} {
		for kind, ipam := range map[string]string{
			"static": `{"type": "static", "addresses": [{"address": "192.0.2.77/24", "gateway": "192.0.2.253"}, {"address": "2001:db8::77/64"}],
				"routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["192.0.2.53"]}}`,
			"host-local": `{"type": "host-local", "dataDir": "/run/host-local", "ranges": [[{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.77", "gateway": "192.0.2.253"}],
				[{"subnet": "2001:db8::/64", "rangeStart": "2001:db8::77"}]], "routes": [{"dst": "0.0.0.0/0"}]}`,
		} {
			t.Run(base.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				d := base
				d.keys += `, "ipam": ` + ipam
				w := newWorld(t, d)
				w.delegate(dir, kind)
			})
		}
	}
}

// delegate has one life of an attachment with the plugins of a directory.
func (w *world) delegate(dir, kind string) {
	w.t.Helper()
	path := "CNI_PATH=" + dir
	result := w.must("ADD", w.conf("1.0.0", ""), path)
	if !strings.Contains(result, "192.0.2.77/24") || !strings.Contains(result, "2001:db8::77/64") || kind == "static" && !strings.Contains(result, "192.0.2.53") {
		w.t.Errorf("result %s", result)
	}
	out, err := w.inside("ip", "address", "show", "eth0")
	if err != nil || !strings.Contains(out, "192.0.2.77/24") || !strings.Contains(out, "2001:db8::77/64") {
		w.t.Errorf("%v: addresses\n%s", err, out)
	}
	if out, err := w.inside("ip", "route"); err != nil || !strings.Contains(out, "default via 192.0.2.253") {
		w.t.Errorf("%v: routes\n%s", err, out)
	}
	w.must("CHECK", w.conf("1.0.0", prev(result)), path)
	if _, err := w.inside("ip", "address", "del", "192.0.2.77/24", "dev", "eth0"); err != nil {
		w.t.Fatal(err)
	}
	w.refused("CHECK", w.conf("1.0.0", prev(result)), path)
	for range 2 {
		w.must("DEL", w.conf("1.0.0", prev(result)), path)
	}
	if out, _ := w.inside("ip", "-o", "link"); strings.Contains(out, "eth0") {
		w.t.Errorf("left:\n%s", out)
	}
	if out, _ := w.host.Try("find", "/run/host-local", "-name", "192.*"); kind == "host-local" && strings.Contains(out, "192.0.2.77") {
		w.t.Errorf("the plugin was not told DEL:\n%s", out)
	}
	// What is not installed is said before anything is made.
	f := w.refused("ADD", w.conf("1.0.0", ""), "CNI_PATH=/nowhere")
	if f.Code != 7 || !strings.Contains(f.Msg+f.Details, "find plugin "+kind) {
		w.t.Errorf("without the plugin: %+v", f)
	}
}
