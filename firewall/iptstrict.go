package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/plugins"
)

// Chains of strict ports. A packet that the filter table's INPUT has let in
// comes to that of the table security, and goes around the loop from there.
const (
	internalChain = "BERTH-INTERNAL"
	askChain      = "BERTH-ASK"    // nat: what is not to be translated yet
	strictChain   = "BERTH-STRICT" // security: what INPUT has let in
)

// admittedIPT is how long whom INPUT has let in need not ask again: for the
// client to send again, should its packet get lost on the loop. iptables has
// no way to tell that it has not.
const admittedIPT = 10 * time.Second

func isStrict(r iptRule) bool { return r.chain == strictChain }

// strictRules are a strict port's, besides that which publishes it.
func strictRules(n *Network, m *plugins.PortMapping, to netip.Addr) []iptRule {
	id, match := fmt.Sprintf("%s:%s:strict:%s", n.Bridge, to, hostPort(m, m.HostPort)), portMatch(m)
	return []iptRule{
		{"nat", askChain, id, fmt.Sprintf("%s -m set ! --match-set %s src,dst -j ACCEPT", match, admittedIPSet(to.Is4()))},
		{"security", strictChain, id, match + " -j BERTH-ADMIT"},
	}
}

// strictChains are the chains and hooks of a host that has strict ports. When
// the last one has gone they are emptied, so that nothing names the set.
//
// A packet that the host sends has an address of the host's: those, and what
// comes around the loop, INPUT is not asked about. From behind a bridge
// without a way out nothing goes around, because it would lose where it came
// from.
func strictChains(rules []iptRule, is4 bool) ([]iptChain, []iptHook) {
	chains := append(iptChains(is4),
		iptChain{"nat", askChain, nil}, iptChain{"nat", "BERTH-ASKED", nil},
		iptChain{"security", strictChain, nil}, iptChain{"security", "BERTH-ADMIT", nil}, iptChain{"security", "BERTH-INPUT", nil})
	hooks := append(slices.Clone(iptHooks), iptHook{"security", "INPUT", []string{"-j", "BERTH-INPUT"}})
	if !slices.ContainsFunc(rules, isStrict) {
		return chains, hooks
	}
	gateway := loopGateway6
	if is4 {
		gateway = loopGateway4
	}
	admit := []string{fmt.Sprintf("-j SET --add-set %s src,dst --exist", admittedIPSet(is4))}
	for _, r := range rules {
		if r.chain == internalChain && strings.HasPrefix(r.spec, "-i ") {
			admit = append(admit, r.spec)
		}
	}
	admit = append(admit, fmt.Sprintf("-j TEE --gateway %s --oif %s", gateway, loopOut), "-j DROP")
	for i := range chains {
		switch c := &chains[i]; c.name {
		case "BERTH-PUBLISH":
			c.fixed = append([]string{"-j BERTH-ASKED"}, c.fixed...)
		case "BERTH-ASKED":
			c.fixed = []string{"-m addrtype --src-type LOCAL -j RETURN", "-i " + loopIn + " -j RETURN", "-j " + askChain}
		case "BERTH-INPUT":
			c.fixed = []string{"-i lo -j RETURN", "-i " + loopIn + " -j DROP", "-m conntrack --ctstate NEW -j " + strictChain}
		case "BERTH-ADMIT":
			c.fixed = admit
		}
	}
	return chains, hooks
}
