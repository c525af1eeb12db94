package firewall

import (
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// chainDef is a chain of the table; hooked ones are base chains.
type chainDef struct {
	name     string
	kind     string // "filter" or "nat"; empty: not hooked
	hook     uint32
	priority int32
	rules    []ruleDef
}

type ruleDef struct {
	why  string // the rule's comment
	what match
}

// Priorities put every chain behind those that the administrator and other
// tools have at the customary places, so that theirs decide first
// (CVE-2019-9946): a packet that theirs translated is not translated again,
// and one that theirs dropped does not come here.
const (
	priorityRaw    = -300
	priorityDNAT   = -100 + 10
	priorityFilter = 0 + 10
	prioritySNAT   = 100 + 10

	// priorityArrived is behind the filters of the reverse path of other tools.
	priorityArrived = priorityFilter + 1

	// priorityAdmit is behind every filter of INPUT (security is 50). The loop
	// copies at the next, and the one after that drops.
	priorityAdmit = 60

	// priorityBridge is that of the bridge family's own filter chains.
	priorityBridge = -200
)

// admitted is how long whom INPUT has let in once need not ask again.
const admitted = 10 * time.Minute

// inetChains are the rules of the table "inet berth".
func inetChains() []chainDef {
	return []chainDef{
		{name: "guard", kind: "filter", hook: unix.NF_INET_PRE_ROUTING, priority: priorityRaw, rules: guardRules()},
		{name: "publish", rules: publishRules()},
		{name: "prerouting", kind: "nat", hook: unix.NF_INET_PRE_ROUTING, priority: priorityDNAT, rules: preroutingRules()},
		{name: "output", kind: "nat", hook: unix.NF_INET_LOCAL_OUT, priority: priorityDNAT, rules: []ruleDef{
			{"published ports, for the host itself", rule(forHost(), jump("publish"))},
		}},
		{name: "input", kind: "filter", hook: unix.NF_INET_LOCAL_IN, priority: priorityAdmit, rules: admitRules()},
		{name: "swallow", kind: "filter", hook: unix.NF_INET_LOCAL_IN, priority: priorityAdmit + 2, rules: swallowRules()},
		{name: "forward", kind: "filter", hook: unix.NF_INET_FORWARD, priority: priorityFilter, rules: forwardRules()},
		{name: "postrouting", kind: "nat", hook: unix.NF_INET_POST_ROUTING, priority: prioritySNAT, rules: postroutingRules()},
	}
}

// guardRules stand where nothing has been translated yet. The bridges allow
// loopback addresses for the host's own use of published ports; a neighbour
// that sends to 127.0.0.1 would reach the host's local services
// (CVE-2020-8558). The address comes first, because it is the cheaper to
// compare and every packet is looked at, bridged ones too where br_netfilter
// hands them over.
func guardRules() []ruleDef {
	return []ruleDef{{"the host's loopback is not the containers'", rule(destNet(true, []byte{127}), iif(bridges), drop())}}
}

func preroutingRules() []ruleDef {
	return []ruleDef{
		{"a loopback address from elsewhere is a forgery", rule(notIif("lo"), destNet(true, []byte{127}), leave())},
		{"ports for which INPUT decides: to INPUT first", rule(toAdmit(true, admittedSet4, 1), leave())},
		{"ports for which INPUT decides: to INPUT first", rule(toAdmit(false, admittedSet6, 4), leave())},
		{"published ports, for everybody else", rule(forHost(), jump("publish"))},
	}
}

// toAdmit matches a packet from outside to a strict port whose client INPUT
// has not let in yet; words is the length of an address in registers. It ends
// with the key of the set in the registers.
func toAdmit(is4 bool, set *setDef, words uint32) match {
	return rule(notIif("lo"), notAround(), protoPort(word(0)), in(strictPorts),
		family(is4), match{saddr(is4, reg1)}, protoPort(word(words)), notIn(set))
}

// admitRules see what all other INPUT rules have let in. It has no business
// with the host: it goes around the loop (loop.go), marked by its priority,
// which the kernel uses for nothing here. The client is remembered in case the
// packet gets lost there: the next one is translated at once. From behind a
// bridge without a way out only the addresses of its own containers go around,
// by which the other end tells where they belong.
func admitRules() []ruleDef {
	rules := []ruleDef{{"the port is published no more", rule(cameAround(), drop())}}
	for _, f := range admittedSets {
		fresh, ask := ctState(expr.CtStateBitNEW), rule(toAdmit(f.is4, f.set, f.words), remember(f.set, unix.NFT_DYNSET_OP_UPDATE))
		own := member(f.is4, expr.MetaKeyIIFNAME)
		rules = append(rules,
			ruleDef{"INPUT lets it in: into its own network", rule(fresh, iif(internal), own, ask, setPriority(innerNumber))},
			ruleDef{"INPUT lets it in: the next to the container", rule(fresh, iif(internal), ask, drop())},
			ruleDef{"INPUT lets it in: to the container", rule(fresh, ask, setPriority(loopNumber))})
	}
	return rules
}

// swallowRules keep from the host what goes around the loop.
func swallowRules() (rules []ruleDef) {
	for _, l := range loops {
		rules = append(rules, ruleDef{"a copy of it goes to the container", rule(hasPriority(l.number), ctState(expr.CtStateBitNEW), drop())})
	}
	return rules
}

// decideAgainRules forget whom INPUT has let in when the packet has come
// around the loop: INPUT decides of each connection.
func decideAgainRules() (rules []ruleDef) {
	for _, f := range admittedSets {
		rules = append(rules, ruleDef{"INPUT decides of the next again", rule(
			cameAround(), family(f.is4), match{saddr(f.is4, reg1), meta(expr.MetaKeyL4PROTO, word(f.words)), originalPort(word(f.words + 1))},
			remember(f.set, dynsetDelete))})
	}
	return rules
}

// admittedSets are the sets of each family, with the length of an address in
// registers.
var admittedSets = []struct {
	is4   bool
	set   *setDef
	words uint32
}{{true, admittedSet4, 1}, {false, admittedSet6, 4}}

// publishRules go from the particular to the general. Each looks one map up,
// whatever the number of ports.
func publishRules() []ruleDef {
	var rules []ruleDef
	for _, is4 := range []bool{true, false} {
		for _, m := range []struct {
			why                  string
			oneAddress, interval bool
		}{
			{"ports of one address", true, false},
			{"ranges of one address", true, true},
			{"ports of every address", false, false},
			{"ranges of every address", false, true},
		} {
			rules = append(rules, ruleDef{m.why, publish(is4, m.oneAddress, m.interval)})
		}
	}
	return rules
}

// forwardRules say who may begin to talk to whom.
func forwardRules() []ruleDef {
	rules := []ruleDef{{"answers", rule(ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())}}
	rules = append(rules, decideAgainRules()...)
	return append(rules, []ruleDef{
		{"around the inner loop: into its own network", rule(iifIs(innerIn), toInside(), member(true, expr.MetaKeyOIFNAME), accept())},
		{"around the inner loop: into its own network", rule(iifIs(innerIn), toInside(), member(false, expr.MetaKeyOIFNAME), accept())},
		{"around the inner loop: nowhere else", rule(iifIs(innerIn), drop())},
		{"inside one network", rule(through(inside), accept())},
		{"internal: no way out", rule(iif(internal), drop())},
		{"internal: no way in", rule(oif(internal), drop())},
		{"published ports", rule(translated(), accept())},
		{"containers kept apart", rule(through(apart), drop())},
		{"isolated from other networks", rule(iif(isolated), oif(bridges), drop())},
		{"isolated from other networks", rule(iif(bridges), oif(isolated), drop())},
		{"from one network to another", rule(iif(bridges), oif(bridges), accept())},
		{"containers' own addresses are not for other hosts", rule(oif(hidden), drop())},
	}...)
}

// postroutingRules keep the client's address except where the answer would
// not come back this way: a container that reaches its own network by a
// published port, and the host's loopback.
func postroutingRules() []ruleDef {
	outside := func(is4 bool) match {
		set := masquerade4
		if !is4 {
			set = masquerade6
		}
		return rule(family(is4), match{saddr(is4, reg1)}, in(set), masquerade())
	}
	return []ruleDef{
		{"back into its own network by a published port", rule(translated(), member(true, expr.MetaKeyOIFNAME), masquerade())},
		{"back into its own network by a published port", rule(translated(), member(false, expr.MetaKeyOIFNAME), masquerade())},
		{"the host's loopback to a published port", rule(oif(bridges), sourceNet(true, []byte{127}), masquerade())},
		{"the host's loopback to a published port", rule(oif(bridges), sourceNet(false, loopback6), masquerade())},
		{"between networks the source stays", rule(oif(bridges), leave())},
		{"multicast is not translated", rule(multicast4(), leave())},
		{"multicast is not translated", rule(destNet(false, []byte{0xff}), leave())},
		{"to the outside", outside(true)},
		{"to the outside", outside(false)},
	}
}

// member tells that the source is a container of the network that the packet
// came in from or leaves to, by the key of that interface's name.
func member(is4 bool, device expr.MetaKey) match {
	set, name := members4, word(1)
	if !is4 {
		set, name = members6, word(4)
	}
	return rule(family(is4), match{saddr(is4, reg1), meta(device, name)}, in(set))
}

var loopback6 = []byte{15: 1}

// multicast4 is 224.0.0.0/4.
func multicast4() match {
	return append(family(true),
		daddr(true, reg1),
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: []byte{0xf0, 0, 0, 0}, Xor: make([]byte, 4)},
		equal([]byte{0xe0, 0, 0, 0}),
	)
}
