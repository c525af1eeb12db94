package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// iptJump is a rule that has no mark of ours, by its target.
type iptJump struct{ table, chain, target string }

func jumpOf(table, chain, rule string) iptJump {
	_, target, _ := strings.Cut(" "+rule, " -j ")
	target, _, _ = strings.Cut(target, " ")
	return iptJump{table, chain, target}
}

// Check implements Firewall.
func (f IPTables) Check(n *Network, e *Endpoint) error {
	for _, is4 := range []bool{true, false} {
		text, err := f.save(is4)
		if err == nil {
			err = checkSaved(text, n, e, is4)
		}
		if err != nil {
			return err
		}
	}
	if e.Port != "" {
		return checkPort(e)
	}
	return nil
}

// checkSaved compares what iptables-save prints.
func checkSaved(text string, n *Network, e *Endpoint, is4 bool) error {
	have, jumps := parseSaved(text)
	for _, r := range append(networkRules(n, is4), endpointRules(n, e, is4)...) {
		if !slices.ContainsFunc(have, r.same) {
			return fmt.Errorf("iptables rule %s of chain %s: %w", r.id, r.chain, ErrMissing)
		}
	}
	return checkJumps(jumps, have, is4)
}

// checkJumps looks for the hooks and the fixed rules.
func checkJumps(have []iptJump, rules []iptRule, is4 bool) error {
	chains, hooks := iptChains(is4), iptHooks
	if slices.ContainsFunc(rules, isStrict) {
		chains, hooks = strictChains(rules, is4)
	}
	return missingJump(have, chains, hooks)
}

// missingJump fails with ErrMissing where a hook or a fixed rule is not there.
// Of those that differ in nothing but their matches, which iptables prints its
// own way, it counts them.
func missingJump(have []iptJump, chains []iptChain, hooks []iptHook) error {
	wanted := make(map[iptJump]int)
	for _, h := range hooks {
		wanted[iptJump{h.table, h.chain, h.spec[len(h.spec)-1]}]++
	}
	for _, c := range chains {
		for _, fixed := range c.fixed {
			wanted[jumpOf(c.table, c.name, fixed)]++
		}
	}
	for _, j := range have {
		wanted[j]--
	}
	for j, n := range wanted {
		if n > 0 {
			return fmt.Errorf("iptables jump from %s to %s: %w", j.chain, j.target, ErrMissing)
		}
	}
	return nil
}
