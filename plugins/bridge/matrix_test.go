package bridge_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// combination is one row of the matrix.
type combination struct {
	ip4, ip6, masq, internal, port, isolate bool
	strict, guard, apart                    bool
	backend                                 string
}

func (c combination) String() string {
	name := fmt.Sprintf("%s-4=%v-6=%v-masq=%v-internal=%v-port=%v-isolate=%v", c.backend, c.ip4, c.ip6, c.masq, c.internal, c.port, c.isolate)
	for key, on := range map[string]bool{"-strict": c.strict, "-guard": c.guard, "-apart": c.apart} {
		if on {
			name += key
		}
	}
	return name
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
	return fmt.Sprintf(`{"type":"bridge","bridge":"br%d","isDefaultGateway":true,"hairpinMode":true,"ipMasq":%v,"internal":%v,"isolate":%v,"strictPublish":%v,"macspoofchk":%v,"icc":%v,"firewallBackend":%q,"ipam":{"type":"berth-ipam","ranges":[%s]}}`,
		n, c.masq, c.internal, c.isolate, c.strict, c.guard, !c.apart, c.backend, ranges)
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, backend := range backends(t) {
		for bits := range 1 << 4 {
			for _, fam := range []struct{ ip4, ip6 bool }{{true, false}, {false, true}, {true, true}} {
				c := combination{ip4: fam.ip4, ip6: fam.ip6, masq: bits&1 != 0, internal: bits&2 != 0, port: bits&4 != 0, isolate: bits&8 != 0, backend: backend}
				t.Run(c.String(), func(t *testing.T) {
					t.Parallel()
					c.run(t)
				})
			}
		}
	}
}

// TestMatrixOfRestrictions runs what forbids more than a network's policy.
func TestMatrixOfRestrictions(t *testing.T) {
	t.Parallel()
	for _, backend := range backends(t) {
		for bits := range 1 << 4 {
			c := combination{
				ip4: true, ip6: true, masq: true, port: true, isolate: true,
				strict: bits&1 != 0, guard: bits&2 != 0, apart: bits&4 != 0, internal: bits&8 != 0, backend: backend,
			}
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				c.run(t)
			})
		}
	}
}

func backends(t *testing.T) []string {
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no iptables: ", err)
		}
		return []string{firewall.BackendNFTables}
	}
	return []string{firewall.BackendNFTables, firewall.BackendIPTables}
}

func (c combination) run(t *testing.T) {
	w := newWorld(t)
	a, b, other := w.host.NewContainer("a"), w.host.NewContainer("b"), w.host.NewContainer("other")
	var ports []plugins.PortMapping
	if c.port {
		ports = []plugins.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, {HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}}
	}
	req := request(a, "front", c.config(1), ports...)
	// INPUT rules are for strict ports, and none other.
	w.host.Run("nft", "add table inet admin; add chain inet admin in { type filter hook input priority filter; }; add rule inet admin in tcp dport 8081 drop")
	ra, rb := w.add(req), w.add(request(b, "front", c.config(1)))
	open := c
	open.internal, open.port, open.isolate, open.strict, open.apart = false, false, false, false, false
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
	if c.guard {
		w.forge(b.Host, a.Host)
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
	expect(!c.apart, b, own, address(rb, is4))
	expect(true, w.host, own, "")
	expect(!c.internal, b, at(lan, 80), seen)
	expect(!c.internal && !c.isolate, other, own, address(ro, is4))
	expect(!c.internal && !c.masq, w.lan, own, lan)
	expect(c.port, w.host, at(host, 8080), "")
	expect(c.port && !(c.apart && c.internal), b, at(host, 8080), "")
	expect(c.port && !(c.apart && c.internal), a, at(host, 8080), "")
	expect(c.port && !c.internal, w.lan, at(host, 8080), lan)
	expect(c.port && !c.internal, other, at(host, 8080), address(ro, is4))
	expect(c.port && !c.internal && !c.strict, w.lan, at(host, 8081), lan)
	expect(c.port && !c.internal && !c.strict, other, at(host, 8081), "")
}

// forge has one container take another address and MAC: nobody hears of it.
func (w *world) forge(from, to *nettest.Host) {
	w.Helper()
	from.Run("ip", "address", "add", "10.1.0.77/24", "dev", "eth0")
	if err := to.TryPing("10.1.0.77"); err == nil {
		w.Errorf("%s speaks for 10.1.0.77", from.Name)
	}
	from.Run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:66")
	if err := from.TryPing("10.1.0.1"); err == nil {
		w.Errorf("%s speaks with another's MAC", from.Name)
	}
}
