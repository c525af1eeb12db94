package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	runsATurn = 3
	runTurns  = 10
)

// ownNetworks keeps the networks that berth makes out of the machine's /etc.
const ownNetworks = "; mkdir -p /run/etc/up /run/etc/work" +
	"; mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/up,workdir=/run/etc/work /etc" +
	"; mkdir -p /etc/cni; mount -t tmpfs bench /etc/cni"

// runs is how a container of the rootfs that has only /nothing is run to its
// end: by berth on its default network and on none, and by runc, which makes
// the same container without a network.
func (c *contender) runs(dirs directories) {
	var command func(id int) *exec.Cmd
	switch c.name {
	case "run-bridge", "run-none":
		command = func(int) *exec.Cmd {
			network := c.name[len("run-"):]
			return exec.Command(dirs.cli, "run", "--rm", "--network", network, "rootfs:"+dirs.rootfs, "/nothing")
		}
	case "run-runc":
		command = func(id int) *exec.Cmd {
			return exec.Command("runc", "run", "--bundle", filepath.Dir(dirs.rootfs), fmt.Sprintf("bench%d", id))
		}
	}
	c.add = func(id int, _ string) error {
		_, err := c.run(command(id))
		return err
	}
	c.del = func(int, string) error { return nil }
}

// makeBundle puts the program nothing into a rootfs with runc's own
// configuration beside it, less the terminal.
func makeBundle(rootfs string) error {
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return err
	}
	if err := goTool("build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(rootfs, "nothing"), "./bench/nothing"); err != nil {
		return err
	}
	bundle := filepath.Dir(rootfs)
	file := filepath.Join(bundle, "config.json")
	if err := os.RemoveAll(file); err != nil {
		return err
	}
	if out, err := exec.Command("runc", "spec", "--bundle", bundle).CombinedOutput(); err != nil {
		return fmt.Errorf("runc spec: %w: %s; install Debian's runc", err, out)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(raw, &spec); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	process, ok := spec["process"].(map[string]any)
	if !ok {
		return fmt.Errorf("read %s: no process", file)
	}
	process["terminal"], process["args"] = false, []string{"/nothing"}
	if raw, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}

// containers measures berth run beside runc run of the same rootfs.
func (r *report) containers(dirs directories) error {
	if err := makeBundle(dirs.rootfs); err != nil {
		return err
	}
	return r.compare(dirs, map[string]string{"run-bridge": "run-bridge", "run-none": "run-none", "run-runc": "run-runc"}, order{Rounds: runsATurn}, runTurns)
}

// runTable is the times of whole runs.
func (r *report) runTable() string {
	if r.by["run-runc"] == nil {
		return ""
	}
	text := "\n## A container that does nothing, from start to end\n\n| | median | p95 |\n|---|---|---|\n"
	for _, row := range [][2]string{
		{"run-bridge", "berth run --rm, on a bridge"}, {"run-none", "berth run --rm --network none"}, {"run-runc", "runc run, without a network"},
	} {
		s := r.by[row[0]]
		text += fmt.Sprintf("| %s | %s | %s |\n", row[1], ms(median(s.add)), ms(quantile(s.add, 0.95)))
	}
	return text
}
