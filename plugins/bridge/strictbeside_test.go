package bridge_test

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// Filters of the reverse path, as NixOS, Shorewall and firewalld have them, ask
// for the way back with a packet's mark, and so let the copies pass.
func TestStrictPublishBesideReversePathFilters(t *testing.T) {
	t.Parallel()
	for name, filter := range map[string]func(h *nettest.Host){
		"rpfilter": func(h *nettest.Host) {
			for _, tool := range []string{"iptables", "ip6tables"} {
				h.Run(tool, "-t", "mangle", "-A", "PREROUTING", "-m", "rpfilter", "--validmark", "-j", "RETURN")
				h.Run(tool, "-t", "mangle", "-A", "PREROUTING", "-j", "DROP")
			}
		},
		"fib": func(h *nettest.Host) {
			h.Run("nft", "table inet guard { chain pre { type filter hook prerouting priority mangle + 10; fib saddr . mark . iif oif missing drop; }; }")
		},
		"rp_filter": func(h *nettest.Host) {
			h.Run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.all.src_valid_mark=1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				w, _, _ := strictWorld(t, backend, "")
				filter(w.host)
				for _, protocol := range []string{"tcp", "udp"} {
					w.atOnce(w.lan, protocol, "192.0.2.1", "192.0.2.2")
					w.atOnce(w.lan, protocol, "2001:db8::1", "2001:db8::2")
				}
				for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
					w.cannotReach(w.lan, at(host, 8081))
				}
			})
		})
	}
}

// What the host itself must not send, a copy is not: a rule in the middle of
// OUTPUT does not take it, and still takes what the host sends.
func TestStrictPublishBesideARuleOfOutput(t *testing.T) {
	t.Parallel()
	for _, tool := range iptablesTools(t) {
		t.Run(tool, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) {
				w := newWorld(t)
				serve(t, w.lan, 8080)
				tools := []string{tool, strings.Replace(tool, "iptables", "ip6tables", 1)}
				for _, tool := range tools {
					w.host.Run(tool, "-A", "OUTPUT", "-o", "lo", "-j", "ACCEPT")
					w.host.Run(tool, "-A", "OUTPUT", "-p", "tcp", "--dport", "8080", "-m", "comment", "--comment", "not -j ACCEPT", "-j", "DROP")
					w.host.Run(tool, "-A", "OUTPUT", "-j", "ACCEPT")
				}
				c := w.host.NewContainer("c1")
				req := request(c, "front", config(1, `"strictPublish":true,`+with(backend)), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
				w.add(req)
				servePort(c.Host, "tcp4", 80)
				servePort(c.Host, "tcp6", 80)
				w.acquaint(c.Host, "fd10:1::1")
				w.atOnce(w.lan, "tcp", "192.0.2.1", "192.0.2.2")
				w.atOnce(w.lan, "tcp", "2001:db8::1", "2001:db8::2")
				w.cannotReach(w.host, "192.0.2.2:8080")
				w.del(req)
				w.forget(backend)
				for _, tool := range tools {
					if out := w.host.Run(tool, "-S"); strings.Contains(out, "berth:pass") {
						t.Errorf("after the network:\n%s", out)
					}
				}
			})
		})
	}
}
