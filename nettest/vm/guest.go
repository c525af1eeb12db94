package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/berth-net/berth/nettest"
)

// Guest is one boot of a kernel.
type Guest struct {
	Kernel     *Kernel
	Modules    []string // patterns of the modules that it has, all loaded, but those of Package.After; see Kernel.Modules
	Parameters []string // of some of them: a module and its parameters
	Programs   []string // of the machine, with their libraries
	Trees      []string // directories of the machine that these need besides
	Tests      []Package
	Timeout    time.Duration // for all together
}

// Run boots the guest, runs the tests of one package after the other, and
// returns the results. A guest that does not come to its end is an error, with
// what its console says.
func (g *Guest) Run(ctx context.Context) ([]Result, error) {
	work, err := os.MkdirTemp("", "nettest-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	initramfs := filepath.Join(work, "initramfs")
	if err := g.build(ctx, stage{filepath.Join(work, "root")}, initramfs); err != nil {
		return nil, fmt.Errorf("build the guest: %w", err)
	}
	console := filepath.Join(work, "console")
	printed, err := g.boot(ctx, initramfs, console)
	log, _ := os.ReadFile(console)
	if err == nil && !bytes.Contains(printed, []byte(finished)) {
		err = fmt.Errorf("the guest ended before its tests did")
	}
	if err != nil {
		return nil, fmt.Errorf("%w; its kernel said:\n%s\nand its tests:\n%s", err, log, printed)
	}
	return parse(ctx, printed, g.Tests)
}

// build puts the guest's file system together.
func (g *Guest) build(ctx context.Context, s stage, initramfs string) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			return err
		}
	}
	for _, p := range append([]string{"busybox"}, g.Programs...) {
		if err := s.program(p); err != nil {
			return err
		}
	}
	for _, dir := range g.Trees {
		if err := s.tree(dir); err != nil {
			return err
		}
	}
	modules, err := s.kernel(g.Kernel, g.Modules)
	if err != nil {
		return err
	}
	if err := s.write("init", initScript, 0o755); err != nil {
		return err
	}
	if err := s.write("run-tests", g.script(modules), 0o644); err != nil {
		return err
	}
	if err := g.compile(ctx, filepath.Join(s.dir, "tests")); err != nil {
		return err
	}
	return s.pack(initramfs)
}

// compile builds the tests of all packages.
func (g *Guest) compile(ctx context.Context, dir string) error {
	args := []string{"test", "-c", "-ldflags=-s -w", "-o", dir + "/"}
	for _, p := range g.Tests {
		args = append(args, p.Path)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // static: the guest has no C library
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile tests: %w\n%s", err, out)
	}
	return nil
}

// Lines between the outputs of the packages.
const (
	begins   = "nettest-vm begins "
	finished = "nettest-vm has finished"
)

// script is what the guest runs. A missing tool fails a test in here, as in
// continuous integration, and so does a missing feature.
func (g *Guest) script(modules []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "export CI=true %s=true\n", nettest.FullKernel)
	for _, module := range g.Parameters {
		fmt.Fprintf(&b, "modprobe %s\n", module)
	}
	// At once, and not when they are first used: modprobe does not wait for
	// one that another modprobe is just loading, and the kernel would not yet
	// find what it had asked for.
	fmt.Fprintf(&b, "modprobe -a %s\n", strings.Join(slices.DeleteFunc(modules, isLate), " "))
	for _, p := range g.Tests {
		if p.After != "" {
			fmt.Fprintf(&b, "modprobe %s\n", p.After)
		}
		fmt.Fprintf(&b, "echo; echo '%s%s'\n", begins, p.section())
		fmt.Fprintf(&b, "/tests/%s.test -test.v=test2json -test.run '^(%s)$' -test.timeout %s\n",
			p.name(), strings.Join(p.Names, "|"), g.Timeout)
	}
	fmt.Fprintf(&b, "echo; echo '%s'\n", finished)
	return b.Bytes()
}

func isLate(module string) bool {
	for _, late := range late {
		if module == late {
			return true
		}
	}
	return false
}

// boot runs QEMU until the guest switches itself off, and returns what the
// tests printed. The kernel's console is a serial line of its own, so that
// neither disturbs the other.
func (g *Guest) boot(ctx context.Context, initramfs, console string) ([]byte, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
		"-kernel", g.Kernel.Image(), "-initrd", initramfs,
		// A panic ends QEMU. Mitigations protect nobody here, and cost.
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off",
		"-serial", "file:"+console, "-serial", "stdio")
	// The guest ends with the test, however that ends. The kernel looks at the
	// thread that started it, not at the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var printed, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &problems
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("the guest had not come to its end after %s", time.Since(begin).Round(time.Second))
	}
	if err != nil {
		err = fmt.Errorf("run qemu: %w: %s", err, &problems)
	}
	return printed.Bytes(), err
}
