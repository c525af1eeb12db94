package firewall

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// legacyPass is letPass for the rules of iptables-legacy, which nftables does
// not show. Their tool is run where an accept is missing, and only there.
func legacyPass(p passage) error {
	for _, family := range families {
		t, err := readLegacy(family)
		if err == nil && t != nil && t.isDeadEnd(p.hook, p.first) && t.passes(p) < len(p.ways) {
			err = addLegacyPass(p, family)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// passes counts the accepts, by their comments.
func (t *legacyTable) passes(p passage) int {
	return bytes.Count(t.entries, append([]byte(p.mark()), 0))
}

func addLegacyPass(p passage, family uint8) error {
	rules, err := legacyRules(family)
	if err != nil {
		return err
	}
	place := []string{"-A", p.chain}
	n := barrier(rules, p.chain, stopsAll)
	if n > 0 {
		place = []string{"-I", p.chain, strconv.Itoa(n)}
	}
	if chain := p.legacyPlace(rules, family); chain != p.chain {
		place = []string{"-I", chain}
	}
	if some := barrier(rules, p.chain, stopsSome); p.first && some > 0 && some != n {
		place = []string{"-I", p.chain, strconv.Itoa(some)}
	}
	for _, way := range p.ways {
		if slices.ContainsFunc(rules, func(r string) bool { return p.isAccept(r) && strings.Contains(r, way+" "+p.device+" ") }) {
			continue
		}
		if err := runLegacy(family, append(place, way, p.device, "-m", "comment", "--comment", p.mark(), "-j", "ACCEPT")...); err != nil {
			return err
		}
	}
	return nil
}

// forgetLegacyPass removes the accepts of a device.
func forgetLegacyPass(p passage) error {
	for _, family := range families {
		t, err := readLegacy(family)
		if err != nil {
			return err
		}
		if t == nil || t.passes(p) == 0 {
			continue
		}
		rules, err := legacyRules(family)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if !p.isAccept(r) {
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

// isAccept tells whether a rule, as iptables -S prints it, is ours.
func (p *passage) isAccept(rule string) bool {
	return slices.Contains(strings.Fields(strings.ReplaceAll(rule, `"`, "")), p.mark())
}

// legacyPlace is the first of the chains that other tools offer, and the
// kernel's where there is none.
func (p *passage) legacyPlace(rules []string, family uint8) string {
	for _, chain := range p.places(family) {
		if slices.Contains(rules, "-N "+chain) {
			return chain
		}
	}
	return p.chain
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

// barrier is the number of a chain's first rule that stops, as iptables -S and
// iptables-save print it; 0: there is none.
func barrier(lines []string, chain string, stops func(rule string) bool) int {
	n := 0
	for _, line := range lines {
		rule, ok := strings.CutPrefix(line, "-A "+chain+" ")
		if !ok {
			continue
		}
		n++
		if stops(rule) {
			return n
		}
	}
	return 0
}

// stopsSome tells a rule that drops or rejects what its conditions say.
func stopsSome(rule string) bool {
	target := strings.LastIndex(" "+rule, " -j ")
	return target >= 0 && isStop(rule[target:])
}

// stopsAll tells one without conditions.
func stopsAll(rule string) bool {
	target := strings.LastIndex(" "+rule, " -j ")
	if target < 0 {
		return false
	}
	comment, commented := strings.CutPrefix(strings.TrimSpace(rule[:target]), "-m comment --comment ")
	if target > 0 && (!commented || strings.Contains(strings.Trim(comment, `"`), `" -`) || comment[0] != '"' && strings.Contains(comment, " ")) {
		return false
	}
	return isStop(rule[target:])
}

func isStop(target string) bool {
	words := strings.Fields(target)
	return len(words) > 1 && (words[1] == "DROP" || words[1] == "REJECT")
}
