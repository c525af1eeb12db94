package bridge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
)

// A chain of nobody's whose last word is no: STATUS quotes the rule, and the
// command that it gives helps.
func TestStatusOfAHostWhoseOwnRulesBlock(t *testing.T) {
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
			err := w.status(conf)
			w.limited(err, "inet filter forward", c.quoted)
			w.worksAfter(err, conf)
		})
	}
}

// limited wants code 51 (CNI 1.1.0, STATUS) and the reasons.
func (w *world) limited(err error, reasons ...string) {
	w.Helper()
	var coded *plugins.Error
	if !errors.As(err, &coded) || coded.Code != plugins.CodeLimited {
		w.Fatalf("status: %v; want code 51", err)
	}
	for _, reason := range reasons {
		if !strings.Contains(err.Error(), reason) {
			w.Errorf("status: %v; want %q", err, reason)
		}
	}
}

// rules are the administrator's, one to a line or behind a semicolon.
func (w *world) rules(hook, policy, rules string) {
	w.Helper()
	rules = strings.NewReplacer("; ", "\n", "\n", "\n").Replace(rules)
	w.host.Run("nft", "table inet filter { chain "+hook+" { type filter hook "+hook+" priority filter; policy "+policy+";\n"+rules+"\n}\n}")
}

// worksAfter does what the error says.
func (w *world) worksAfter(err error, conf string) {
	w.Helper()
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	serve(w.T, c.Host, 80)
	w.cannotReach(w.lan, "192.0.2.1:8080")
	_, commands, _ := strings.Cut(err.Error(), "to allow it: ")
	for command := range strings.SplitSeq(commands, "; ") {
		w.host.Run("sh", "-c", strings.ReplaceAll(command, `"`, `\"`))
	}
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	w.reaches(w.lan, "[2001:db8::1]:8080", "")
	if err := w.status(conf); err != nil {
		w.Errorf("afterwards: %v", err)
	}
}

// What might let it pass is not complained about.
func TestStatusOfAHostWhoseOwnRulesMayPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, rules := range []string{
		`oifname "br1" accept`, `iifname "br*" accept`, `iifname { "br1", "br2" } accept`, `ct status dnat accept`, `ip saddr 10.0.0.0/8 accept`,
		`iifname "eth0" accept`, `iifname != "eth7" accept`, `ct state new,established accept`, `goto more`, `accept`,
	} {
		w.host.Run("nft", "flush ruleset; add table inet filter; add chain inet filter more")
		w.rules("forward", "drop", rules+"\nreject")
		if err := w.status(config(1, "")); err != nil {
			t.Errorf("%s: %v", rules, err)
		}
	}
	w.rules("forward", "drop", "")
	w.host.Run("nft", "flush chain inet filter forward")
	for _, keys := range []string{`"internal":true,`, `"isGateway":false,`} {
		conf := strings.Replace(config(1, keys), `"isDefaultGateway":true,`, "", 1)
		if err := w.status(conf); err != nil {
			t.Errorf("%s: %v", keys, err)
		}
	}
}

// Strict ports need the way out to their loop.
func TestStatusOfAHostWhoseOutputBlocksStrictPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules("output", "drop", "ct state established,related accept; oif lo accept; meta l4proto ipv6-icmp accept")
	if err := w.status(config(1, "")); err != nil {
		t.Errorf("without strict ports: %v", err)
	}
	conf := config(1, `"strictPublish":true,`)
	err := w.status(conf)
	w.limited(err, "inet filter output", "berth-strict")
	_, command, _ := strings.Cut(err.Error(), "to allow it: ")
	w.host.Run("sh", "-c", strings.ReplaceAll(command, `"`, `\"`))
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	servePort(c.Host, "tcp6", 80)
	w.acquaint(c.Host, "fd10:1::1")
	w.atOnce(w.lan, "tcp", "2001:db8::1", "2001:db8::2")
	if err := w.status(conf); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
