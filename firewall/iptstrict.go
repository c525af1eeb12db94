package firewall

import (
	"fmt"
	"maps"
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
	innerChain    = "BERTH-INNER"  // security: of that, what stays in its network
	aroundChain   = "BERTH-AROUND" // filter: what has come around the inner loop
	backChain     = "BERTH-BACK"
	apartChain    = "BERTH-APART"
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
// comes around a loop, INPUT is not asked about.
func strictChains(rules []iptRule, is4 bool) ([]iptChain, []iptHook) {
	chains := append(iptChains(is4),
		iptChain{"nat", askChain, nil}, iptChain{"nat", "BERTH-ASKED", nil}, iptChain{"filter", aroundChain, nil},
		iptChain{"security", strictChain, nil}, iptChain{"security", "BERTH-ADMIT", nil}, iptChain{"security", innerChain, nil},
		iptChain{"security", "BERTH-INPUT", nil})
	hooks := append(slices.Clone(iptHooks), iptHook{"security", "INPUT", []string{"-j", "BERTH-INPUT"}})
	if !slices.ContainsFunc(rules, isStrict) {
		return chains, hooks
	}
	admit, around := innerRules(rules)
	admit = append([]string{fmt.Sprintf("-j SET --add-set %s src,dst --exist", admittedIPSet(is4))}, admit...)
	for i := range chains {
		switch c := &chains[i]; c.name {
		case "BERTH-PUBLISH":
			c.fixed = append([]string{"-j BERTH-ASKED"}, c.fixed...)
		case "BERTH-ASKED":
			c.fixed = []string{"-m addrtype --src-type LOCAL -j RETURN", "-i " + loopIn + "+ -j RETURN", "-j " + askChain}
		case "BERTH-INPUT":
			c.fixed = []string{"-i lo -j RETURN", "-i " + loopIn + "+ -j DROP", "-m conntrack --ctstate NEW -j " + strictChain}
		case "BERTH-ADMIT":
			c.fixed = append(admit, copyRules(&loops[0], is4)...)
		case innerChain:
			c.fixed = copyRules(&loops[1], is4)
		case "BERTH-FORWARD":
			c.fixed = slices.Insert(slices.Clone(c.fixed), 1, "-i "+innerIn+" -j "+aroundChain)
		case aroundChain:
			c.fixed = around
		}
	}
	return chains, hooks
}

// innerRules send around the inner loop what comes from the containers of
// bridges without a way out, and from there into their own networks. The
// containers are told by the rules that take them back into those. Where they are kept apart
// they do not reach each other.
func innerRules(rules []iptRule) (admit, around []string) {
	caged, apart := make(map[string]bool), make(map[string]bool)
	for _, r := range rules {
		if bridge, ok := strings.CutPrefix(r.spec, "-i "); ok && r.chain == internalChain {
			bridge, _, _ = strings.Cut(bridge, " ")
			caged[bridge] = true
		}
		if bridge, _, _ := strings.Cut(r.id, ":"); r.chain == apartChain {
			apart[bridge] = true
		}
	}
	for _, r := range rules {
		bridge, _, _ := strings.Cut(r.id, ":")
		address, ok := strings.CutPrefix(r.spec, "-s ")
		if address, _, _ = strings.Cut(address, " "); ok && r.chain == backChain && caged[bridge] && !apart[bridge] {
			admit = append(admit, fmt.Sprintf("-i %s -s %s -j %s", bridge, address, innerChain))
			around = append(around, fmt.Sprintf("-s %s -o %s -j ACCEPT", address, bridge))
		}
	}
	for _, bridge := range slices.Sorted(maps.Keys(caged)) {
		admit = append(admit, "-i "+bridge+" -j DROP")
	}
	return admit, append(around, "-j DROP")
}

// copyRules copy around a loop. Of the mark see loop.ensureRoutes; a copy keeps
// it, because the tables of iptables come before filters of other tools.
func copyRules(l *loop, is4 bool) []string {
	return []string{
		fmt.Sprintf("-m mark --mark 0 -j MARK --set-mark %#x", l.mark),
		fmt.Sprintf("-j TEE --gateway %s --oif %s", l.gateway(is4), l.out),
		"-j DROP",
	}
}
