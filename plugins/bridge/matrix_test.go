package bridge_test

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// combination is one row of the matrix.
type combination struct {
	ip4, ip6, masq, internal, port, isolate bool
	backend                                 string
}

func (c combination) String() string {
	return fmt.Sprintf("%s-4=%v-6=%v-masq=%v-internal=%v-port=%v-isolate=%v", c.backend, c.ip4, c.ip6, c.masq, c.internal, c.port, c.isolate)
}

func (c combination) config(n int) string {
	ranges := ""
	if c.ip4 {
		ranges = fmt.Sprintf(`[{"subnet":"10.%d.0.0/24"}]`, n)
	}
	if c.ip6 {
		if ranges != "" {
			ranges += ","
		}
		ranges += fmt.Sprintf(`[{"subnet":"fd10:%d::/64"}]`, n)
	}
	return fmt.Sprintf(`{"type":"bridge","bridge":"br%d","isDefaultGateway":true,"hairpinMode":true,"ipMasq":%v,"internal":%v,"isolate":%v,"firewallBackend":%q,"ipam":{"type":"berth-ipam","ranges":[%s]}}`,
		n, c.masq, c.internal, c.isolate, c.backend, ranges)
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, backend := range backends(t) {
		for bits := range 1 << 4 {
			for _, fam := range []struct{ ip4, ip6 bool }{{true, false}, {false, true}, {true, true}} {
				c := combination{fam.ip4, fam.ip6, bits&1 != 0, bits&2 != 0, bits&4 != 0, bits&8 != 0, backend}
				t.Run(c.String(), func(t *testing.T) {
					t.Parallel()
					c.run(t)
				})
			}
		}
	}
}

func backends(t *testing.T) []string {
	if _, err := exec.LookPath("iptables-restore"); err != nil || !iptablesReady {
		return []string{"nftables"}
	}
	return []string{"nftables", "iptables"}
}

func (c combination) run(t *testing.T) {
	w := newWorld(t)
	a, b, other := w.host.NewContainer("a"), w.host.NewContainer("b"), w.host.NewContainer("other")
	var ports []plugins.PortMapping
	if c.port {
		ports = []plugins.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}
	}
	req := request(a, "front", c.config(1), ports...)
	ra, rb := w.add(req), w.add(request(b, "front", c.config(1)))
	open := c
	open.internal, open.port, open.isolate = false, false, false
	ro := w.add(request(other, "back", open.config(2)))
	serve(t, a.Host, 80)
	serve(t, w.lan, 80)
	if err := w.check(req); err != nil {
		t.Error(err)
	}
	for _, is4 := range []bool{true, false} {
		if is4 && c.ip4 || !is4 && c.ip6 {
			c.traffic(w, is4, a.Host, b.Host, other.Host, ra, rb, ro)
		}
	}
	w.del(req)
	if c.port {
		w.cannotReach(w.lan, "192.0.2.1:8080")
	}
}

// traffic holds what is measured against what the options mean.
func (c combination) traffic(w *world, is4 bool, a, b, other *nettest.Host, ra, rb, ro *plugins.Result) {
	host, lan := "192.0.2.1", "192.0.2.2"
	if !is4 {
		host, lan = "2001:db8::1", "2001:db8::2"
	}
	expect := func(yes bool, from *nettest.Host, address, as string) {
		w.Helper()
		if yes {
			w.reaches(from, address, as)
		} else {
			w.cannotReach(from, address)
		}
	}
	seen := address(rb, is4)
	if c.masq {
		seen = host
	}
	own := at(address(ra, is4), 80)
	expect(true, b, own, address(rb, is4))
	expect(true, w.host, own, "")
	expect(!c.internal, b, at(lan, 80), seen)
	expect(!c.internal && !c.isolate, other, own, address(ro, is4))
	expect(!c.internal && !c.masq, w.lan, own, lan)
	expect(c.port, w.host, at(host, 8080), "")
	expect(c.port, b, at(host, 8080), "")
	expect(c.port, a, at(host, 8080), "")
	expect(c.port && !c.internal, w.lan, at(host, 8080), lan)
	expect(c.port && !c.internal, other, at(host, 8080), address(ro, is4))
}

// iptablesReady says that the second backend is there to be tested.
const iptablesReady = true
