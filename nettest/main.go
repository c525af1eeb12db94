package nettest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Main runs a package's tests, and fails where they leave open descriptors,
// children or links of the process's own namespace behind:
//
//	func TestMain(m *testing.M) { nettest.Main(m) }
//
// One test cannot be told from another that runs beside it, so this is for
// all of them together.
func Main(m *testing.M) {
	before := ownInventory()
	code := m.Run()
	if code == 0 {
		code = leaked(before)
	}
	os.Exit(code)
}

func leaked(before []string) int {
	var diff []string
	err := Poll(context.Background(), func() error {
		if diff = difference(before, ownInventory()); len(diff) != 0 {
			return fmt.Errorf("leaked by the tests of this package:\n  %s", strings.Join(diff, "\n  "))
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	return 0
}

// ownInventory lists what the process has.
func ownInventory() []string {
	var lines []string
	links, err := net.Interfaces()
	if err != nil {
		lines = append(lines, "links: "+err.Error())
	}
	for _, l := range links {
		lines = append(lines, "link "+l.Name)
	}
	return append(append(lines, descriptors()...), children()...)
}

// descriptors leaves out those that the Go runtime opens when it first needs
// them and keeps: the poller's.
func descriptors() []string {
	var lines []string
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") {
			continue // the first of them was that of reading the directory
		}
		// A number tells nothing that is the same in two runs.
		lines = append(lines, "descriptor of "+target)
	}
	return lines
}

func children() []string {
	var lines []string
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		raw, _ := os.ReadFile(list)
		for pid := range strings.FieldsSeq(string(raw)) {
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			lines = append(lines, "child process "+strings.TrimSpace(string(name))+" "+pid)
		}
	}
	return lines
}
