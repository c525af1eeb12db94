package firewall

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// legacyPass is letPass for the rules of iptables-legacy, which nftables does
// not show. Their tool is run where an accept is missing, and only there.
func legacyPass(bridge string) error {
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		t, err := readLegacy(family)
		if err == nil && t != nil && t.drops && t.passes(bridge) < len(passWays) {
			err = addLegacyPass(bridge, family)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// passWays are the devices that an accept of each way names.
var passWays = []string{"-i", "-o"}

// passes counts the accepts for the bridge, by their comments.
func (t *legacyTable) passes(bridge string) int {
	return bytes.Count(t.entries, append([]byte(passMark(bridge)), 0))
}

func addLegacyPass(bridge string, family uint8) error {
	rules, err := legacyRules(family)
	if err != nil {
		return err
	}
	for _, way := range passWays {
		if slices.ContainsFunc(rules, func(r string) bool { return isPass(r, bridge) && strings.Contains(r, way+" "+bridge+" ") }) {
			continue
		}
		if err := runLegacy(family, "-I", legacyPlace(rules, family), way, bridge, "-m", "comment", "--comment", passMark(bridge), "-j", "ACCEPT"); err != nil {
			return err
		}
	}
	return nil
}

// forgetLegacyPass removes the accepts of a bridge.
func forgetLegacyPass(bridge string) error {
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		t, err := readLegacy(family)
		if err != nil {
			return err
		}
		if t == nil || t.passes(bridge) == 0 {
			continue
		}
		rules, err := legacyRules(family)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if !isPass(r, bridge) {
				continue
			}
			if err := runLegacy(family, strings.Fields(strings.Replace(strings.ReplaceAll(r, `"`, ""), "-A ", "-D ", 1))...); err != nil {
				return err
			}
		}
	}
	return nil
}

func runLegacy(family uint8, args ...string) error {
	tool := IPTables{legacy: true}.command(family == unix.NFPROTO_IPV4, "")
	if out, err := exec.Command(tool, append([]string{"-w", "10"}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", tool, args, err, out)
	}
	return nil
}

// isPass tells whether a rule, as iptables -S prints it, is ours for the bridge.
func isPass(rule, bridge string) bool {
	return slices.Contains(strings.Fields(strings.ReplaceAll(rule, `"`, "")), passMark(bridge))
}

// legacyPlace is the first of the chains that other tools offer, and FORWARD
// where there is none.
func legacyPlace(rules []string, family uint8) string {
	for _, chain := range places[family] {
		if slices.Contains(rules, "-N "+chain) {
			return chain
		}
	}
	return "FORWARD"
}

// legacyRules are those of the filter table, as its tool prints them.
func legacyRules(family uint8) ([]string, error) {
	tool := IPTables{legacy: true}.command(family == unix.NFPROTO_IPV4, "")
	out, err := exec.Command(tool, "-w", "10", "-S").Output()
	if err != nil {
		return nil, fmt.Errorf("%s -S: %w", tool, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), nil
}
