// Package machine describes what a run of the tests must leave as it was: the
// machine's devices, pinned namespaces, rules, mounts and state directories.
package machine

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// trees are the directories whose files are listed: berth's own, and those of
// the CNI.
var trees = []string{"/run/berth", "/run/netns", "/var/lib/berth", "/var/lib/cni", "/var/run/cni", "/etc/cni", "/opt/cni"}

// settings are files whose content counts.
var settings = []string{
	"/proc/sys/net/ipv4/ip_forward",
	"/proc/sys/net/ipv6/conf/all/forwarding",
	"/proc/sys/net/ipv6/conf/default/accept_ra",
}

// Snapshot is a text of one fact a line, sorted.
func Snapshot() (string, error) {
	facts, err := links()
	if err != nil {
		return "", err
	}
	for _, tree := range trees {
		facts = append(facts, files(tree)...)
	}
	for _, path := range settings {
		if raw, err := os.ReadFile(path); err == nil {
			facts = append(facts, fmt.Sprintf("setting %s = %s", path, strings.TrimSpace(string(raw))))
		}
	}
	mounts, err := mounts()
	if err != nil {
		return "", err
	}
	facts = append(facts, mounts...)
	facts = append(facts, cgroups()...)
	facts = append(facts, lines("rule", "nft", "-s", "list", "ruleset")...)
	facts = append(facts, lines("policy", "ip", "rule")...)
	slices.Sort(facts)
	return strings.Join(facts, "\n") + "\n", nil
}

func links() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var facts []string
	for _, l := range all {
		facts = append(facts, "link "+l.Name)
	}
	return facts, nil
}

// files lists a tree; one that is absent or not for this user has nothing.
func files(tree string) []string {
	var facts []string
	filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			facts = append(facts, "file "+path)
		}
		return nil
	})
	return facts
}

func mounts() ([]string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var facts []string
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			facts = append(facts, "mount "+fields[4])
		}
	}
	return facts, nil
}

// cgroups lists those of berth's containers, in whichever hierarchy.
func cgroups() []string {
	var facts []string
	for _, pattern := range []string{"/sys/fs/cgroup/berth/*/", "/sys/fs/cgroup/*/berth/*/"} {
		found, _ := filepath.Glob(pattern) // the pattern is well formed
		for _, path := range found {
			facts = append(facts, "cgroup "+path)
		}
	}
	return facts
}

// lines is what a tool prints. Where it is absent or not for this user,
// neither are the tests that would change what it shows.
func lines(kind, name string, args ...string) []string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return nil
	}
	var facts []string
	for line := range strings.Lines(string(out)) {
		facts = append(facts, kind+" "+strings.TrimRight(line, "\n"))
	}
	return facts
}

// Diff lists what came (+) and what went (-) between two snapshots.
func Diff(before, after string) []string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	var diff []string
	for line, n := range count {
		switch {
		case n > 0:
			diff = append(diff, "+ "+strings.TrimRight(line, "\n"))
		case n < 0:
			diff = append(diff, "- "+strings.TrimRight(line, "\n"))
		}
	}
	slices.Sort(diff)
	return diff
}
