package conformance

import (
	"slices"
	"strings"

	"github.com/berth-net/berth/nettest"
)

// inventory is what the host has. The containers' pins are the test's own.
func (w *world) inventory() []string {
	w.t.Helper()
	lines, err := w.host.Inventory()
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "mount /run/netns") })
}

// expectSame waits until the host has just what it had. The kernel removes
// the links of a dead namespace a moment after its last user.
func (w *world) expectSame(before []string, after string) {
	w.t.Helper()
	nettest.Eventually(w.t, "nothing is left after "+after, func() error {
		if diff := changes(before, w.inventory()); len(diff) > 0 {
			return leftError(diff)
		}
		return nil
	})
}

type leftError []string

func (e leftError) Error() string { return strings.Join(e, "\n") }

func changes(before, after []string) (diff []string) {
	for _, line := range after {
		if !slices.Contains(before, line) {
			diff = append(diff, "+ "+line)
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			diff = append(diff, "- "+line)
		}
	}
	return diff
}

// expectIdle tells what an attachment left that is not there for the next
// one: the links that the driver keeps, and the fixed rules of its table.
func (w *world) expectIdle(before []string) {
	w.t.Helper()
	for _, line := range changes(before, w.inventory()) {
		link, isLink := strings.CutPrefix(line, "+ link ")
		switch {
		case strings.HasPrefix(line, "+ rule "), strings.HasPrefix(line, "+ file "):
		case isLink && slices.Contains(w.driver.keeps, link):
		default:
			w.t.Errorf("left after the first DEL: %s", line)
		}
	}
}
