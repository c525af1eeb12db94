package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/flock"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// IPTables is the backend for hosts whose firewall is iptables, of either
// kind. Its rules say what the nftables rules say, but each container is a
// few rules, not elements. All rules of one Add go in by one iptables-restore
// per family, which is one transaction.
type IPTables struct{ legacy bool } // legacy: the tool that does without nftables

// ErrUnsupported says that a backend cannot do what a network asks for.
var ErrUnsupported = errors.New("not supported by the iptables backend")

// iptRule is a rule of one of our chains. Its comment is its identity: what
// iptables-save prints differs from what iptables-restore was given.
type iptRule struct{ table, chain, id, spec string }

func (r *iptRule) line() string {
	return fmt.Sprintf("-A %s -m comment --comment %q %s", r.chain, r.mark(), r.spec)
}

func (r *iptRule) mark() string { return "berth:" + r.id }

// iptChain is one of our chains.
type iptChain struct {
	table, name string
	fixed       []string // its rules; chains of networks and containers have none
}

// iptChains are those that every host has; strictChains are further ones. A
// loopback address from elsewhere is a forgery: IPv6 drops it, IPv4 does not
// where somebody has set route_localnet.
func iptChains(is4 bool) []iptChain {
	enter := []string{"-m addrtype --dst-type LOCAL -j BERTH-PUBLISH"}
	if is4 {
		enter = append([]string{"! -i lo -d 127.0.0.0/8 -j RETURN"}, enter...)
	}
	return append([]iptChain{{"nat", "BERTH-ENTER", enter}}, fixedChains...)
}

var fixedChains = []iptChain{
	{"raw", "BERTH-GUARD", nil},
	{"nat", "BERTH-ADDRPORTS", nil},
	{"nat", "BERTH-PORTS", nil},
	{"nat", "BERTH-PUBLISH", []string{"-j BERTH-ADDRPORTS", "-j BERTH-PORTS"}},
	{"nat", backChain, nil},
	{"nat", "BERTH-BRIDGES", nil},
	{"nat", "BERTH-MASQ", nil},
	{"nat", "BERTH-POST", []string{"-m conntrack --ctstate DNAT -j " + backChain, "-j BERTH-BRIDGES", "-j BERTH-MASQ"}},
	{"filter", "BERTH-INSIDE", nil},
	{"filter", internalChain, nil},
	{"filter", apartChain, nil},
	{"filter", "BERTH-ANY-OUT", nil},
	{"filter", "BERTH-ANY-IN", nil},
	{"filter", "BERTH-ISOLATED", nil},
	{"filter", "BERTH-OWN", nil},
	{"filter", "BERTH-HIDDEN", nil},
	{"filter", "BERTH-FORWARD", []string{
		"-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", "-j BERTH-INSIDE", "-j " + internalChain,
		"-m conntrack --ctstate DNAT -j ACCEPT", "-j " + apartChain, "-j BERTH-ISOLATED", "-j BERTH-OWN", "-j BERTH-HIDDEN",
	}},
}

// iptHook is a jump from the kernel's chains, behind what is there.
type iptHook struct {
	table, chain string
	spec         []string
}

var iptHooks = []iptHook{
	{"raw", "PREROUTING", []string{"-j", "BERTH-GUARD"}},
	{"nat", "PREROUTING", []string{"-j", "BERTH-ENTER"}},
	{"nat", "OUTPUT", []string{"-m", "addrtype", "--dst-type", "LOCAL", "-j", "BERTH-PUBLISH"}},
	{"nat", "POSTROUTING", []string{"-j", "BERTH-POST"}},
	{"filter", "FORWARD", []string{"-j", "BERTH-FORWARD"}},
}

// networkRules are a network's, in one family.
func networkRules(n *Network, is4 bool) (rules []iptRule) {
	br := n.Bridge
	add := func(yes bool, table, chain, id, spec string) {
		if yes {
			rules = append(rules, iptRule{table, chain, br + ":" + id, spec})
		}
	}
	loopback := "::1"
	if is4 {
		loopback = "127.0.0.0/8"
	}
	add(is4, "raw", "BERTH-GUARD", "guard", "-i "+br+" -d 127.0.0.0/8 -j DROP")
	add(true, "nat", "BERTH-BRIDGES", "loopback", "-o "+br+" -s "+loopback+" -j MASQUERADE")
	add(true, "nat", "BERTH-BRIDGES", "keep", "-o "+br+" -j ACCEPT")
	add(!n.NoICC, "filter", "BERTH-INSIDE", "inside", "-i "+br+" -o "+br+" -j ACCEPT")
	add(n.Internal, "filter", internalChain, "no-way-out", "-i "+br+" -j DROP")
	add(n.Internal, "filter", internalChain, "no-way-in", "-o "+br+" -j DROP")
	add(n.NoICC, "filter", apartChain, "apart", "-i "+br+" -o "+br+" -j DROP")
	add(true, "filter", "BERTH-ANY-OUT", "out", "-o "+br+" -j DROP")
	add(true, "filter", "BERTH-ANY-IN", "in", "-i "+br+" -j DROP")
	add(n.Isolated, "filter", "BERTH-ISOLATED", "from", "-i "+br+" -j BERTH-ANY-OUT")
	add(n.Isolated, "filter", "BERTH-ISOLATED", "to", "-o "+br+" -j BERTH-ANY-IN")
	add(true, "filter", "BERTH-OWN", "own", "-i "+br+" -j ACCEPT")
	add(n.Hidden, "filter", "BERTH-HIDDEN", "hidden", "-o "+br+" -j DROP")
	add(!n.Hidden, "filter", "BERTH-HIDDEN", "routed", "-o "+br+" -j ACCEPT")
	return rules
}

func endpointRules(n *Network, e *Endpoint, is4 bool) (rules []iptRule) {
	for _, a := range e.Addresses {
		if a.Is4() != is4 {
			continue
		}
		id := n.Bridge + ":" + a.String()
		rules = append(rules, iptRule{"nat", backChain, id + ":back", "-s " + a.String() + " -o " + n.Bridge + " -j MASQUERADE"})
		if e.Masquerade {
			rules = append(rules, iptRule{"nat", "BERTH-MASQ", id + ":masquerade", "-s " + a.String() + " -j MASQUERADE"})
		}
	}
	to, ok := e.first(is4)
	for i := range e.Ports {
		m := &e.Ports[i]
		if ok && (!m.HostIP.IsValid() || m.HostIP.Is4() == is4) {
			rules = append(rules, portRule(n, m, to))
			if e.Strict {
				rules = append(rules, strictRules(n, m, to)...)
			}
		}
	}
	return rules
}

// portRule keeps the offset of a shifted range (NF_NAT_RANGE_PROTO_OFFSET).
func portRule(n *Network, m *plugins.PortMapping, to netip.Addr) iptRule {
	chain, c := "BERTH-PORTS", count(m)-1
	if hasAddress(m) {
		chain = "BERTH-ADDRPORTS"
	}
	target := netip.AddrPortFrom(to, m.ContainerPort).String()
	if c > 0 {
		target += fmt.Sprintf("-%d/%d", m.ContainerPort+c, m.HostPort)
	}
	id := fmt.Sprintf("%s:%s:port:%s", n.Bridge, to, hostPort(m, m.HostPort))
	return iptRule{"nat", chain, id, portMatch(m) + " -j DNAT --to-destination " + target}
}

// portMatch matches what comes to a published port or range.
func portMatch(m *plugins.PortMapping) string {
	spec := "-p " + m.Protocol
	if hasAddress(m) {
		spec += " -d " + m.HostIP.String()
	}
	spec += fmt.Sprintf(" --dport %d", m.HostPort)
	if c := count(m) - 1; c > 0 {
		spec += fmt.Sprintf(":%d", m.HostPort+c)
	}
	return spec
}

// Add implements Firewall.
func (f IPTables) Add(n *Network, e *Endpoint) error {
	if err := prepare(e); err != nil {
		return err
	}
	if err := f.change("add to", n, false, func(rules []iptRule, is4 bool) []iptRule {
		return merge(rules, append(networkRules(n, is4), endpointRules(n, e, is4)...))
	}); err != nil {
		return err
	}
	if e.Port != "" {
		if err := guardPort(e); err != nil {
			return err
		}
	}
	return passBeside(n.Bridge)
}

// prepare makes what the rules of strict ports name. A copy for a device that
// is not there would leave by whatever route there is to its gateway.
func prepare(e *Endpoint) error {
	if !e.strict() {
		return nil
	}
	_, err := ensureLoop(e, true)
	return errors.Join(err, createIPSets(), passAround())
}

// Del implements Firewall.
func (f IPTables) Del(n *Network, e *Endpoint) error {
	return f.change("remove from", n, false, func(rules []iptRule, is4 bool) []iptRule {
		return without(rules, endpointRules(n, e, is4))
	})
}

// Forget implements Firewall.
func (f IPTables) Forget(n *Network) error {
	strict := false
	err := f.change("remove", n, false, func(rules []iptRule, is4 bool) []iptRule {
		rules = slices.DeleteFunc(rules, func(r iptRule) bool { return strings.HasPrefix(r.id, n.Bridge+":") })
		strict = strict || slices.ContainsFunc(rules, isStrict)
		return rules
	})
	if err == nil && !strict {
		err = errors.Join(destroyIPSets(), deleteLoop())
	}
	return errors.Join(err, forgetPass(throughBridge(n.Bridge)))
}

// Rebuild implements Firewall.
func (f IPTables) Rebuild(all []Attachment) error {
	for i := range all {
		if err := prepare(&all[i].Endpoint); err != nil {
			return err
		}
	}
	err := f.change("rebuild", &Network{Bridge: "every network"}, true, func(_ []iptRule, is4 bool) (rules []iptRule) {
		for i := range all {
			n, e := &all[i].Network, &all[i].Endpoint
			rules = merge(rules, append(networkRules(n, is4), endpointRules(n, e, is4)...))
		}
		return rules
	})
	if err != nil {
		return err
	}
	return errors.Join(guardPorts(all), passBeside(bridgesOf(all)...))
}

// guardPorts passes over ports that are gone.
func guardPorts(all []Attachment) error {
	var errs []error
	for i := range all {
		if e := &all[i].Endpoint; e.Port != "" {
			if err := guardPort(e); !errors.Is(err, netdev.ErrNotFound) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (r *iptRule) same(o iptRule) bool { return r.chain == o.chain && r.id == o.id }

func merge(rules, more []iptRule) []iptRule {
	return append(without(rules, more), more...)
}

func without(rules, gone []iptRule) []iptRule {
	return slices.DeleteFunc(rules, func(r iptRule) bool { return slices.ContainsFunc(gone, r.same) })
}

// change reads our rules, lets edit change them, and writes them back, in
// both families, one process at a time: all of them, or those of tables that
// edit changes.
func (f IPTables) change(what string, n *Network, all bool, edit func(rules []iptRule, is4 bool) []iptRule) error {
	unlock, err := lockIPTables()
	if err != nil {
		return err
	}
	defer unlock()
	for _, is4 := range []bool{true, false} {
		saved, err := f.save(is4)
		if err == nil {
			err = f.replace(saved, all, edit, is4)
		}
		if err != nil {
			return fmt.Errorf("%s iptables rules of %s: %w", what, n.Bridge, err)
		}
	}
	return nil
}

func (f IPTables) replace(saved string, all bool, edit func([]iptRule, bool) []iptRule, is4 bool) error {
	before, jumps := parseSaved(saved)
	rules := edit(slices.Clone(before), is4)
	chains, hooks := iptChains(is4), iptHooks
	if slices.ContainsFunc(before, isStrict) || slices.ContainsFunc(rules, isStrict) {
		chains, hooks = strictChains(rules, is4)
	} else if !all {
		chains = slices.DeleteFunc(chains, func(c iptChain) bool { return isSettled(c.table, is4, saved, jumps, before, rules) })
	}
	missing := slices.DeleteFunc(slices.Clone(hooks), func(h iptHook) bool { return h.isIn(saved) })
	return errors.Join(f.restore(chains, rules, is4), f.hook(missing, is4))
}

// isSettled tells a table that has all of our chains, fixed rules and jumps, and
// the very rules that it is to have. Each table that is written is a
// transaction of its own, which takes the kernel several milliseconds, and most
// Adds change one. The table nat is always written: outside of it a rule's
// identity says all that the rule says.
func isSettled(table string, is4 bool, saved string, jumps []iptJump, before, after []iptRule) bool {
	chains := slices.DeleteFunc(iptChains(is4), func(c iptChain) bool { return c.table != table })
	there := savedTable(saved, table)
	for _, c := range chains {
		if !strings.Contains(there, "\n:"+c.name+" ") {
			return false
		}
	}
	return table != "nat" && missingJump(jumps, chains, nil) == nil && slices.Equal(marksIn(table, before), marksIn(table, after))
}

// marksIn are a table's rules, sorted.
func marksIn(table string, rules []iptRule) (marks []string) {
	for i := range rules {
		if rules[i].table == table {
			marks = append(marks, rules[i].chain+" "+rules[i].id)
		}
	}
	slices.Sort(marks)
	return marks
}

func lockIPTables() (unlock func(), err error) {
	const path = "/run/berth/iptables.lock"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return flock.Take(path, unix.O_CREAT, unix.LOCK_EX)
}

// command is the tool's name of a family.
func (f IPTables) command(is4 bool, suffix string) string {
	name := "ip6tables"
	if is4 {
		name = "iptables"
	}
	if f.legacy {
		name += "-legacy"
	}
	return name + suffix
}

func (f IPTables) save(is4 bool) (string, error) {
	name := f.command(is4, "-save")
	out, err := exec.Command(name).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(out), nil
}

// parseSaved tells the rules that have our mark from all other jumps.
func parseSaved(text string) (rules []iptRule, jumps []iptJump) {
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if t, ok := strings.CutPrefix(line, "*"); ok {
			table = t
		}
		if r, ok := parseRule(table, line); ok {
			rules = append(rules, r)
		} else if chain, rule, ok := strings.Cut(strings.TrimPrefix(line, "-A "), " "); ok {
			jumps = append(jumps, jumpOf(table, chain, rule))
		}
	}
	return rules, jumps
}

func parseRule(table, line string) (_ iptRule, ours bool) {
	head, rest, ok := strings.Cut(line, " -m comment --comment ")
	chain, in := strings.CutPrefix(head, "-A BERTH-")
	if !ok || !in {
		return iptRule{}, false
	}
	// The chain may be followed by matches that iptables puts first.
	chain, before, _ := strings.Cut(chain, " ")
	mark, after, _ := strings.Cut(rest, " ")
	id, ours := strings.CutPrefix(strings.Trim(mark, `"`), "berth:")
	return iptRule{table, "BERTH-" + chain, id, strings.TrimSpace(before + " " + after)}, ours
}

// restore replaces the contents of all our chains in one transaction.
func (f IPTables) restore(chains []iptChain, rules []iptRule, is4 bool) error {
	var in bytes.Buffer
	for _, table := range []string{"raw", "nat", "filter", "security"} {
		writeTable(&in, table, chains, rules)
	}
	name := f.command(is4, "-restore")
	cmd := exec.Command(name, "--noflush", "--wait")
	text := in.String()
	cmd.Stdin = &in
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s\n%s", name, err, bytes.TrimSpace(out), text)
	}
	return nil
}

// writeTable leaves a table alone of which we have no chain: to name it would
// make it.
func writeTable(in *bytes.Buffer, table string, chains []iptChain, rules []iptRule) {
	isOf := func(c iptChain) bool { return c.table == table }
	if !slices.ContainsFunc(chains, isOf) {
		return
	}
	fmt.Fprintf(in, "*%s\n", table)
	for _, c := range chains {
		if isOf(c) {
			fmt.Fprintf(in, ":%s - [0:0]\n", c.name)
		}
	}
	for _, c := range chains {
		for _, fixed := range c.fixed {
			if isOf(c) {
				fmt.Fprintf(in, "-A %s %s\n", c.name, fixed)
			}
		}
	}
	for i := range rules {
		if rules[i].table == table {
			fmt.Fprintln(in, rules[i].line())
		}
	}
	fmt.Fprintln(in, "COMMIT")
}

// hook puts the jumps behind what is there, where they are missing. A rule
// that drops or rejects all would keep packets from ours, so those of the
// filter table come just before it.
func (f IPTables) hook(hooks []iptHook, is4 bool) error {
	if len(hooks) == 0 {
		return nil
	}
	ipt, err := f.tool(is4)
	if err != nil {
		return fmt.Errorf("find iptables: %w", err)
	}
	for _, h := range hooks {
		if h.table == "filter" {
			err = h.beforeBarrier(ipt)
		} else {
			err = ipt.AppendUnique(h.table, h.chain, h.spec...)
		}
		if err != nil {
			return fmt.Errorf("hook %s of table %s: %w", h.chain, h.table, err)
		}
	}
	return nil
}

// isIn tells whether iptables-save prints the jump where hook would put it. To
// ask the tool for each would take most of an Add's time.
func (h *iptHook) isIn(saved string) bool {
	var rules []string
	for line := range strings.Lines(savedTable(saved, h.table)) {
		if strings.HasPrefix(line, "-A "+h.chain+" ") {
			rules = append(rules, strings.TrimSpace(line))
		}
	}
	if stop := barrier(rules, h.chain, stopsAll); h.table == "filter" && stop > 0 {
		rules = rules[:stop-1]
	}
	return slices.Contains(rules, h.line())
}

// savedTable is a table's part of what iptables-save prints.
func savedTable(saved, table string) string {
	_, saved, _ = strings.Cut(saved, "*"+table+"\n")
	saved, _, _ = strings.Cut(saved, "\nCOMMIT")
	return "\n" + saved
}

// line is how iptables prints the jump.
func (h *iptHook) line() string { return "-A " + h.chain + " " + strings.Join(h.spec, " ") }

// beforeBarrier moves or makes the jump where the chain has such a rule, and
// else appends it, where it is missing.
func (h *iptHook) beforeBarrier(ipt *iptables.IPTables) error {
	rules, err := ipt.List(h.table, h.chain)
	if err != nil {
		return err
	}
	// The first line is the policy; the chain's others are its rules.
	stop := barrier(rules, h.chain, stopsAll)
	if stop > 0 {
		rules = rules[:stop]
	}
	if slices.Contains(rules, h.line()) {
		return nil
	}
	if stop == 0 {
		return ipt.AppendUnique(h.table, h.chain, h.spec...)
	}
	if err := ipt.DeleteIfExists(h.table, h.chain, h.spec...); err != nil {
		return err
	}
	return ipt.Insert(h.table, h.chain, stop, h.spec...)
}

func (f IPTables) tool(is4 bool) (*iptables.IPTables, error) {
	path, err := exec.LookPath(f.command(is4, ""))
	if err != nil {
		return nil, err
	}
	proto := iptables.ProtocolIPv6
	if is4 {
		proto = iptables.ProtocolIPv4
	}
	return iptables.New(iptables.IPFamily(proto), iptables.Timeout(10), iptables.Path(path))
}
