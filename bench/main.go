// Command bench measures berth's bridge driver beside its peers in one run,
// each on a host (a network and a mount namespace) of its own, turn by turn,
// because a machine is never the same twice. It writes docs/BENCHMARKS.md,
// unless it is told to measure a part only: go run ./bench -only growth,tcp.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// directories are where the contenders' programs are.
type directories struct {
	berth, upstream, floor string
	cli                    string // berth itself
	rootfs                 string // of the containers of berth run and runc
}

func (d directories) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%q,%q,%q,%q,%q]", d.berth, d.upstream, d.floor, d.cli, d.rootfs), nil
}

func (d *directories) UnmarshalJSON(raw []byte) error {
	_, err := fmt.Sscanf(strings.NewReplacer("[", "", "]", "", ",", " ").Replace(string(raw)), "%q %q %q %q %q", &d.berth, &d.upstream, &d.floor, &d.cli, &d.rootfs)
	return err
}

const upstreamModule = "github.com/containernetworking/plugins/plugins/"
const upstreamVersion = "v1.9.1"

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "host":
		err = serveHost(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "names":
		err = serveNames(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "ipam":
		err = measureIPAM(os.Args[2], os.Args[3])
	default:
		only := flag.String("only", "", "measure these parts only, separated by commas, and write no file: "+strings.Join(partNames(), ", "))
		flag.Parse()
		err = run(*only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(only string) error {
	wanted, err := choose(only)
	if err != nil {
		return err
	}
	dirs, err := build()
	if err != nil {
		return err
	}
	r, err := measure(dirs, wanted)
	if err != nil {
		return err
	}
	text := r.markdown()
	fmt.Print(text)
	if only != "" {
		return nil
	}
	return os.WriteFile("docs/BENCHMARKS.md", []byte(text), 0o644)
}

// build makes the floor program and the upstream plugins, these once.
func build() (d directories, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return d, err
	}
	cache = filepath.Join(cache, "berth-bench")
	d = directories{
		upstream: filepath.Join(cache, "upstream-"+upstreamVersion), floor: filepath.Join(cache, "floor"), rootfs: filepath.Join(cache, "bundle", "rootfs"),
	}
	if d.cli, err = filepath.Abs("bin/berth"); err != nil {
		return d, err
	}
	if d.berth, err = filepath.Abs("bin/cni"); err != nil {
		return d, err
	}
	if err := goTool("build", "-trimpath", "-ldflags=-s -w", "-o", d.floor, "./bench/floor"); err != nil {
		return d, err
	}
	for _, p := range []string{"main/bridge", "main/macvlan", "ipam/host-local", "meta/portmap", "meta/firewall"} {
		if _, err := os.Stat(filepath.Join(d.upstream, filepath.Base(p))); err == nil {
			continue
		}
		if err := goTool("install", "-trimpath", upstreamModule+p+"@"+upstreamVersion, "GOBIN="+d.upstream); err != nil {
			return d, err
		}
	}
	return d, nil
}

// goTool runs go; an argument NAME=value goes to its environment.
func goTool(args ...string) error {
	env := append(os.Environ(), "CGO_ENABLED=0")
	if last := args[len(args)-1]; strings.Contains(last, "GOBIN=") {
		env, args = append(env, last), args[:len(args)-1]
	}
	cmd := exec.Command("go", args...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
