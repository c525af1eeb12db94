package firewall

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// legacyPass is letPass for the rules of iptables-legacy, which nftables does
// not show. Their tool is run only where the kernel says that there are any.
func legacyPass(bridge string) error {
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		tool := IPTables{legacy: true}.command(family == unix.NFPROTO_IPV4, "")
		rules, err := legacyRules(family, tool)
		if err != nil || !slices.Contains(rules, "-P FORWARD DROP") {
			if err != nil {
				return err
			}
			continue
		}
		for _, way := range []string{"-i", "-o"} {
			if slices.ContainsFunc(rules, func(r string) bool { return isPass(r, bridge) && strings.Contains(r, way+" "+bridge+" ") }) {
				continue
			}
			args := []string{"-w", "10", "-I", legacyPlace(rules, family), way, bridge, "-m", "comment", "--comment", passMark(bridge), "-j", "ACCEPT"}
			if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s %q: %w: %s", tool, args, err, out)
			}
		}
	}
	return nil
}

// forgetLegacyPass removes the accepts of a bridge.
func forgetLegacyPass(bridge string) error {
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		tool := IPTables{legacy: true}.command(family == unix.NFPROTO_IPV4, "")
		rules, err := legacyRules(family, tool)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if !isPass(r, bridge) {
				continue
			}
			args := strings.Fields(strings.Replace(strings.ReplaceAll(r, `"`, ""), "-A ", "-w 10 -D ", 1))
			if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s %q: %w: %s", tool, args, err, out)
			}
		}
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

// legacyRules are those of the filter table, none where it is not there: to
// ask the tool would make it.
func legacyRules(family uint8, tool string) ([]string, error) {
	file := "ip_tables_names"
	if family == unix.NFPROTO_IPV6 {
		file = "ip6_tables_names"
	}
	names, err := os.ReadFile("/proc/thread-self/net/" + file)
	if err != nil || !slices.Contains(strings.Fields(string(names)), "filter") {
		return nil, nil // a kernel without says so by the file's absence
	}
	out, err := exec.Command(tool, "-w", "10", "-S").Output()
	if err != nil {
		return nil, fmt.Errorf("%s -S: %w", tool, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), nil
}
