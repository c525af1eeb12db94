package nettest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/state"
)

// ExpectClean fails the test where the host, when the test ends, has anything
// that it did not have at this call: links, pinned namespaces, mounts, rules,
// endpoint records, leases and other files below /run/berth, or has lost
// something. Call it before the containers are made, and after a first Add
// and Del where a driver keeps something for the next.
func (h *Host) ExpectClean() {
	h.t.Helper()
	before := h.mustInventory()
	h.t.Cleanup(func() {
		var diff []string
		// A namespace, and the links in it, die a moment after their last user.
		Poll(context.Background(), func() error {
			if diff = difference(before, h.mustInventory()); len(diff) != 0 {
				return errors.New("not yet")
			}
			return nil
		})
		for _, line := range diff {
			h.t.Errorf("host %s: leak: %s", h.Name, line)
		}
	})
}

// Inventory lists what a host has, a line each, sorted: what ExpectClean
// compares.
func (h *Host) Inventory() ([]string, error) {
	var lines []string
	for _, ask := range []func() ([]string, error){h.linkNames, h.rules, h.mounts, h.records, h.stateFiles} {
		found, err := ask()
		if err != nil {
			return nil, fmt.Errorf("take inventory of host %s: %w", h.Name, err)
		}
		lines = append(lines, found...)
	}
	slices.Sort(lines)
	return lines, nil
}

func (h *Host) mustInventory() []string {
	h.t.Helper()
	lines, err := h.Inventory()
	if err != nil {
		h.t.Fatal(err)
	}
	return lines
}

func (h *Host) linkNames() ([]string, error) {
	entries, err := h.readDir("/sys/class/net")
	return prefixed("link ", entries), err
}

func (h *Host) rules() ([]string, error) {
	out, err := h.Try("nft", "-s", "list", "ruleset")
	if err != nil {
		return nil, fmt.Errorf("list rules: %w: %s", err, out)
	}
	return prefixed("rule ", strings.Split(strings.TrimSpace(out), "\n")), nil
}

// mounts include the pins of namespaces.
func (h *Host) mounts() (found []string, err error) {
	err = h.Do(func() error {
		f, err := os.Open("/proc/thread-self/mountinfo")
		if err != nil {
			return err
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			// proc(5): the fifth field is the mount point.
			if fields := strings.Fields(s.Text()); len(fields) > 4 {
				found = append(found, "mount "+fields[4])
			}
		}
		return nil
	})
	return found, err
}

func (h *Host) records() (found []string, err error) {
	err = h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return store.View(func(tx *state.Tx) error {
			all, err := endpoint.List(tx, "")
			for _, r := range all {
				found = append(found, "endpoint "+r.Key.String())
			}
			leases, lerr := ipam.Holdings(tx, "")
			for _, l := range leases {
				found = append(found, fmt.Sprintf("lease %s of %s", l.Addresses, l.Key))
			}
			return errors.Join(err, lerr)
		})
	})
	return found, err
}

// ownFiles are the state package's own, of the same size whatever is recorded.
var ownFiles = []string{"state.db", "lock", "guards"}

// stateFiles are those of this boot other than the database and its locks.
func (h *Host) stateFiles() (found []string, err error) {
	err = h.Do(func() error {
		return filepath.WalkDir(state.DefaultRoot, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && !d.IsDir() && !slices.Contains(ownFiles, d.Name()) {
				found = append(found, "file "+path)
			}
			return err
		})
	})
	return found, err
}

func (h *Host) readDir(dir string) (names []string, err error) {
	err = h.Do(func() error {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return err
	})
	return names, err
}

func prefixed(prefix string, lines []string) []string {
	out := make([]string, 0, len(lines))
	for _, line := range lines {
		if line != "" {
			out = append(out, prefix+line)
		}
	}
	return out
}

// difference lists what came (+) and went (-).
func difference(before, after []string) []string {
	count := map[string]int{}
	for _, line := range before {
		count[line]--
	}
	for _, line := range after {
		count[line]++
	}
	var diff []string
	for line, n := range count {
		switch {
		case n > 0:
			diff = append(diff, "+ "+line)
		case n < 0:
			diff = append(diff, "- "+line)
		}
	}
	slices.Sort(diff)
	return diff
}
