package test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/test/image"
)

// The tour of README.md, line by line, as a user types it.
func TestREADMETour(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	t.Cleanup(func() { removeContainers(t, h) })
	bin, dir := binaries(t), t.TempDir()
	writeDemoImage(t, filepath.Join(dir, "bin/image"))
	for _, line := range tour(t) {
		cmd := h.Command("sh", "-ec", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		var out []byte
		err := h.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err })
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		if strings.Contains(line, " get http") && !strings.HasPrefix(string(out), "web 10.10.0.") {
			t.Errorf("%s: answer %q, want the server web and an address of front", line, out)
		}
	}
}

// tour is README.md's block of shell commands.
func tour(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), "```sh\n")
	block, _, ok2 := strings.Cut(rest, "```\n")
	if !ok || !ok2 {
		t.Fatal("README.md has no block of shell commands")
	}
	return strings.Split(strings.TrimSpace(block), "\n")
}

func writeDemoImage(t *testing.T, dir string, cmd ...string) {
	t.Helper()
	if err := saveDemoImage(t.TempDir(), dir, cmd...); err != nil {
		t.Fatal(err)
	}
}

// saveDemoImage builds httpd in scratch, and writes an image of it to dir,
// with what it does when it is told nothing.
func saveDemoImage(scratch, dir string, cmd ...string) error {
	path, err := image.BuildHTTPD(scratch)
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	img, err := image.New(v1.Config{Entrypoint: []string{"/httpd"}, Cmd: cmd}, image.File{Path: "httpd", Mode: 0o755, Content: binary})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	return image.WriteLayout(dir, "latest", img)
}

// What README.md tells to type at a fresh machine must be there.
func TestREADMETargetsExist(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"build", "install", "install-dropin", "uninstall", "test", "lint", "demo", "bench", "deps", "clean"} {
		cmd := exec.Command("make", "-n", target)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", target, err, out)
		}
	}
}

func TestInstallAndUninstall(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	make := func(args ...string) {
		cmd := exec.Command("make", append(args, "DESTDIR="+dest, "CNI_BIN_DIR=/usr/lib/cni", "PREFIX=/usr")...)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %q: %v\n%s", args, err, out)
		}
	}
	// A plugin that is there already is replaced only on request.
	theirs := filepath.Join(dest, "usr/lib/cni/dhcp")
	if err := errors.Join(os.MkdirAll(filepath.Dir(theirs), 0o755), os.WriteFile(theirs, []byte("theirs"), 0o755)); err != nil {
		t.Fatal(err)
	}
	make("install")
	if raw, err := os.ReadFile(theirs); string(raw) != "theirs" {
		t.Errorf("make install replaced a plugin dhcp that was there: %v", err)
	}
	make("install-dropin", "--assume-old=build") // it has just been built
	for _, name := range []string{"bridge", "host", "overlay", "macvlan", "none", "berth-ipam", "loopback", "host-local", "dhcp"} {
		if to, err := os.Readlink(filepath.Join(dest, "usr/lib/cni", name)); to != "berth-cni" {
			t.Errorf("%s leads to %q, %v; want berth-cni", name, to, err)
		}
	}
	if out, err := exec.Command(filepath.Join(dest, "usr/bin/berth"), "version").Output(); err != nil || !strings.HasPrefix(string(out), "berth ") {
		t.Errorf("berth version: %q, %v", out, err)
	}
	// It starts the agent that is beside it, which wants etcd before --bind.
	if out, err := exec.Command(filepath.Join(dest, "usr/bin/berth-agent"), "--bind", "192.0.2.1").CombinedOutput(); err == nil || !strings.Contains(string(out), "give etcd too") {
		t.Errorf("berth-agent: %q, %v", out, err)
	}
	unit, err := os.ReadFile(filepath.Join(dest, "usr/lib/systemd/system/berth-agent.service"))
	if err != nil || !strings.Contains(string(unit), "ExecStart=/usr/bin/berth agent --config /etc/berth/agent.conf\n") {
		t.Errorf("the agent's unit: %v\n%s", err, unit)
	}
	// The file that is installed has nothing but comments, which are flags.
	conf, err := os.ReadFile(filepath.Join(dest, "etc/berth/agent.conf"))
	if err != nil || len(conf) == 0 {
		t.Errorf("the agent's configuration: %v", err)
	}
	// Somebody's own plugin of the same name.
	foreign := filepath.Join(dest, "usr/lib/cni/bridge")
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	make("uninstall")
	left, err := filepath.Glob(filepath.Join(dest, "usr/*/*"))
	left = slices.DeleteFunc(left, func(dir string) bool { return filepath.Base(dir) == "systemd" })
	for _, gone := range []string{"etc/berth/agent.conf", "usr/lib/systemd/system/berth-agent.service"} {
		if _, err := os.Stat(filepath.Join(dest, gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s after uninstall: %v", gone, err)
		}
	}
	cni, _ := os.ReadDir(filepath.Join(dest, "usr/lib/cni"))
	if err != nil || len(cni) != 1 || cni[0].Name() != "bridge" || len(left) != 1 {
		t.Errorf("left after uninstall: %q, %v, %v; want the foreign bridge alone", left, cni, err)
	}
}
