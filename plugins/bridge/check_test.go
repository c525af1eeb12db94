package bridge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// checked is a container with everything that CHECK compares.
func checked(t *testing.T, backend string) (*world, *nettest.Container, *plugins.Request, *plugins.Result) {
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	req := request(c, "front", config(1, fmt.Sprintf(`"ipMasq":true,"macspoofchk":true,"strictPublish":true,"hairpinMode":true,"portIsolation":true,"firewallBackend":%q,`, backend)),
		plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
		plugins.PortMapping{HostPort: 9000, ContainerPort: 9000, Count: 5, Protocol: "udp"})
	r := w.add(req)
	if err := w.check(req); err != nil {
		t.Fatal(err)
	}
	return w, c, req, r
}

func TestCheckFindsWhatHasChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"IPv4 address":   "c ip address del 10.1.0.2/24 dev eth0",
		"IPv6 address":   "c ip address del fd10:1::2/64 dev eth0",
		"IPv4 route":     "c ip route del default",
		"IPv6 route":     "c ip -6 route del default",
		"MAC":            "c ip link set eth0 address 02:00:00:00:00:99",
		"MTU":            "c ip link set eth0 mtu 1400",
		"interface down": "c ip link set eth0 down",
		"interface":      "c ip link del eth0",
		"master":         "h ip link set VETH nomaster",
		"port down":      "h ip link set VETH down",
		"isolation":      "h bridge link set dev VETH isolated off",
		"hairpin":        "h bridge link set dev VETH hairpin off",
		"bridge down":    "h ip link set br1 down",
		"bridge":         "h ip link del br1",
		"gateway":        "h ip address del 10.1.0.1/24 dev br1",
		"guard":          "h tc qdisc del dev VETH clsact",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c, req, r := checked(t, "iptables")
			h := w.host
			if strings.HasPrefix(change, "c") {
				h = c.Host
			}
			args := strings.Fields(strings.ReplaceAll(change, "VETH", r.Interfaces[1].Name))
			h.Run(args[1], args[2:]...)
			if err := w.check(req); err == nil {
				t.Error("CHECK finds nothing")
			}
		})
	}
}

// Every element and every rule is missed by CHECK, and comes back.
func TestCheckMissesEachElement(t *testing.T) {
	t.Parallel()
	w, _, req, _ := checked(t, "nftables")
	n := 0
	for _, family := range []string{"inet", "bridge"} {
		set := ""
		for _, line := range strings.Split(strings.ReplaceAll(w.host.Run("nft", "list", "table", family, "berth"), ",\n", ", "), "\n") {
			switch f := strings.Fields(line); {
			case len(f) > 1 && slices.Contains([]string{"set", "map", "chain"}, f[0]):
				set = f[1]
				if f[0] == "chain" {
					n++
					w.missed(req, "nft", "flush", "chain", family, "berth", set)
				}
			case strings.Contains(line, "elements = {"):
				_, list, _ := strings.Cut(line, "{")
				for _, e := range strings.Split(strings.TrimSuffix(strings.TrimSpace(list), "}"), ",") {
					n++
					key, _, _ := strings.Cut(e, " : ")
					w.missed(req, "nft", "delete", "element", family, "berth", set, "{", key, "}")
				}
			}
		}
	}
	if n < 25 {
		t.Errorf("only %d pieces were taken away", n)
	}
}

// Package firewall has the test of every rule; these go through CHECK.
func TestCheckMissesIPTablesRules(t *testing.T) {
	t.Parallel()
	w, _, req, _ := checked(t, "iptables")
	w.missed(req, "iptables", "-t", "nat", "-F", "BERTH-PORTS")
	w.missed(req, "ip6tables", "-D", "FORWARD", "-j", "BERTH-FORWARD")
	w.missed(req, "iptables", "-F", "BERTH-ISOLATED")
}

// missed takes a piece away, which CHECK must miss, and brings it back.
func (w *world) missed(req *plugins.Request, args ...string) {
	w.Helper()
	w.host.Run(args[0], args[1:]...)
	if err := w.check(req); err == nil {
		w.Errorf("after %q CHECK finds nothing", args)
	}
	w.reload()
	if err := w.check(req); err != nil {
		w.Fatalf("after %q and a reload: %v", args, err)
	}
}
