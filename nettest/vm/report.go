package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// Result is how one test ended in the guest.
type Result struct {
	Package string // import path
	Test    string // with its subtests' names, and empty for the package itself
	Action  string // "pass", "fail" or "skip"
	Seconds float64
	Output  string
}

// parse reads what the guest's tests printed. A test that was to run and of
// which nothing was heard is a failure.
func parse(ctx context.Context, printed []byte, tests []Package) ([]Result, error) {
	outputs := map[string][]byte{}
	text, _, _ := bytes.Cut(printed, []byte(finished))
	for _, part := range bytes.Split(text, []byte(begins))[1:] {
		name, output, _ := bytes.Cut(part, []byte("\n"))
		outputs[strings.TrimSpace(string(name))] = output
	}
	var all []Result
	for _, p := range tests {
		results, err := convert(ctx, p.Path, outputs[p.section()])
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
		for _, name := range p.Names {
			if !ended(results, name) {
				all = append(all, Result{Package: p.Path, Test: name, Action: "fail", Output: "it did not come to an end in the guest:\n" + string(outputs[p.section()])})
			}
		}
	}
	return all, nil
}

func ended(results []Result, name string) bool {
	for _, r := range results {
		if r.Test == name {
			return true
		}
	}
	return false
}

// event is a line of test2json ("go doc test2json").
type event struct {
	Action, Test, Output string
	Elapsed              float64
}

// convert reads the output of one test binary.
func convert(ctx context.Context, pkg string, output []byte) ([]Result, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t")
	cmd.Stdin = bytes.NewReader(output)
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("read results of %s: test2json: %w", pkg, err)
	}
	said := map[string]*strings.Builder{}
	var results []Result
	for d := json.NewDecoder(bytes.NewReader(raw)); d.More(); {
		var e event
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("read results of %s: %w", pkg, err)
		}
		if said[e.Test] == nil {
			said[e.Test] = new(strings.Builder)
		}
		said[e.Test].WriteString(e.Output)
		switch e.Action {
		case "pass", "fail", "skip":
			results = append(results, Result{pkg, e.Test, e.Action, e.Elapsed, said[e.Test].String()})
		}
	}
	return results, nil
}
