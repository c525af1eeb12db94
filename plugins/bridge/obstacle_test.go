package bridge_test

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
)

// A chain of nobody's whose last word is no: a warning quotes the rule, and the
// commands that it gives help. STATUS has nothing to say, because runtimes take
// a node out of service for that, with all that works on it.
func TestWarningOfAHostWhoseOwnRulesBlock(t *testing.T) {
	t.Parallel()
	const usual = `ct state vmap { established : accept, related : accept, invalid : drop }; ct state established,related accept; iif lo accept
iifname "lan" oifname "wan" accept; iifname "lo" accept; tcp dport 22 accept; icmp type echo-request accept; meta l4proto udp accept; counter log prefix "all "; `
	for name, c := range map[string]struct{ policy, rules, quoted string }{
		"policy": {"drop", usual, "policy of drop"},
		"reject": {"accept", usual + "counter reject with icmpx admin-prohibited", `counter packets`},
		"drop":   {"accept", usual + `drop comment "the rest"`, `drop comment \"the rest\"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.rules("forward", c.policy, c.rules)
			conf := config(1, `"ipMasq":true,`)
			w.worksAfter(w.hindered(conf, "inet filter forward", c.quoted), conf)
		})
	}
}

// warnings are the driver's of a network.
func (w *world) warnings(conf string) (list []string) {
	w.Helper()
	if err := on(w.host, func(d *bridge.Driver) (err error) {
		list, err = d.Warnings(&plugins.Network{Name: "front", Type: "bridge", Config: []byte(conf)})
		return err
	}); err != nil {
		w.Error(err)
	}
	return list
}

// hindered wants one warning with the reasons, and a STATUS that is good.
func (w *world) hindered(conf string, reasons ...string) (warning string) {
	w.Helper()
	list := w.warnings(conf)
	if len(list) != 1 {
		w.Fatalf("warnings %q, want one", list)
	}
	for _, reason := range reasons {
		if !strings.Contains(list[0], reason) {
			w.Errorf("warning %q, want %q", list[0], reason)
		}
	}
	if err := w.status(conf); err != nil {
		w.Errorf("status: %v", err)
	}
	return list[0]
}

// rules are the administrator's, one to a line or behind a semicolon.
func (w *world) rules(hook, policy, rules string) {
	w.Helper()
	rules = strings.NewReplacer("; ", "\n", "\n", "\n").Replace(rules)
	w.host.Run("nft", "table inet filter { chain "+hook+" { type filter hook "+hook+" priority filter; policy "+policy+";\n"+rules+"\n}\n}")
}

// worksAfter does what the warning says.
func (w *world) worksAfter(warning, conf string) {
	w.Helper()
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	serve(w.T, c.Host, 80)
	w.cannotReach(w.lan, "192.0.2.1:8080")
	_, commands, _ := strings.Cut(warning, "to allow it: ")
	for command := range strings.SplitSeq(commands, "; ") {
		w.host.Run("sh", "-c", strings.ReplaceAll(command, `"`, `\"`))
	}
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	w.reaches(w.lan, "[2001:db8::1]:8080", "")
	if list := w.warnings(conf); len(list) > 0 {
		w.Errorf("afterwards: %q", list)
	}
}

// What might let it pass is not complained about.
func TestNoWarningOfRulesThatMayPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, rules := range []string{
		`oifname "br1" accept`, `iifname "br*" accept`, `iifname { "br1", "br2" } accept`, `ct status dnat accept`, `ip saddr 10.0.0.0/8 accept`,
		`iifname "eth0" accept`, `iifname != "eth7" accept`, `ct state new,established accept`, `goto more`, `accept`,
	} {
		w.host.Run("nft", "flush ruleset; add table inet filter; add chain inet filter more")
		w.rules("forward", "drop", rules+"\nreject")
		if list := w.warnings(config(1, "")); len(list) > 0 {
			t.Errorf("%s: %q", rules, list)
		}
	}
	w.rules("forward", "drop", "")
	w.host.Run("nft", "flush chain inet filter forward")
	for _, keys := range []string{`"internal":true,`, `"isGateway":false,`} {
		conf := strings.Replace(config(1, keys), `"isDefaultGateway":true,`, "", 1)
		if list := w.warnings(conf); len(list) > 0 {
			t.Errorf("%s: %q", keys, list)
		}
	}
}

// Strict ports need the way out to their loop.
func TestWarningOfAHostWhoseOutputBlocksStrictPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules("output", "drop", "ct state established,related accept; oif lo accept; meta l4proto ipv6-icmp accept")
	if list := w.warnings(config(1, "")); len(list) > 0 {
		t.Errorf("without strict ports: %q", list)
	}
	conf := config(1, `"strictPublish":true,`)
	warning := w.hindered(conf, "inet filter output", "berth-strict")
	_, command, _ := strings.Cut(warning, "to allow it: ")
	w.host.Run("sh", "-c", strings.ReplaceAll(command, `"`, `\"`))
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	servePort(c.Host, "tcp6", 80)
	w.acquaint(c.Host, "fd10:1::1")
	w.atOnce(w.lan, "tcp", "2001:db8::1", "2001:db8::2")
	if list := w.warnings(conf); len(list) > 0 {
		t.Errorf("afterwards: %q", list)
	}
}
