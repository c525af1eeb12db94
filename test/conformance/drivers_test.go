package conformance

import (
	"testing"

	"github.com/berth-net/berth/nettest"
)

// driver is a row: what the suite must know of a driver to judge it.
type driver struct {
	name string // of the plugin
	keys string // of its configuration, besides cniVersion, name and type

	device     bool     // it makes the interface that CNI_IFNAME names
	addresses  bool     // it gives an address of each of the ranges
	sharesHost bool     // the container is in the host's namespace
	repeatable bool     // a second ADD gives the first one's result
	stateless  bool     // it records nothing, so that CHECK needs no ADD
	keeps      []string // links that stay on the host for the next container
}

// Every host of the suite has ext0, with a default route of both families.
const (
	ranges   = `"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]`
	ipamKeys = `"ipam": {"type": "berth-ipam", ` + ranges + `}`
)

var drivers = []driver{
	{name: "bridge", keys: `"bridge": "br0", "isGateway": true, "ipMasq": true, ` + ipamKeys, device: true, addresses: true, keeps: []string{"br0"}},
	{name: "macvlan", keys: `"master": "ext0", ` + ipamKeys, device: true, addresses: true},
	{name: "overlay", keys: `"vni": 42, "peers": ["192.0.2.2"], ` + ipamKeys, device: true, addresses: true},
	{name: "none"},
	{name: "host", sharesHost: true},
	{name: "loopback", repeatable: true, stateless: true},
	{name: "berth-ipam", keys: ipamKeys, addresses: true, repeatable: true},
	{name: "host-local", keys: `"ipam": {"type": "host-local", "dataDir": "/tmp/x", ` + ranges + `}`, addresses: true, repeatable: true},
}

func eachDriver(t *testing.T, test func(*testing.T, driver)) {
	t.Helper()
	t.Parallel()
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}

// newHost makes a host with an uplink and no container.
func newHost(t *testing.T) *nettest.Host {
	t.Helper()
	h := nettest.NewHost(t, "host")
	h.Run("ip", "link", "add", "ext0", "type", "veth", "peer", "name", "ext1")
	for _, cmd := range [][]string{
		{"link", "set", "ext1", "up"},
		{"link", "set", "ext0", "up"},
		{"address", "add", "192.0.2.1/24", "dev", "ext0"},
		{"address", "add", "2001:db8::1/64", "dev", "ext0", "nodad"},
		{"route", "add", "default", "via", "192.0.2.254"},
		{"-6", "route", "add", "default", "via", "2001:db8::254"},
	} {
		h.Run("ip", cmd...)
	}
	return h
}
