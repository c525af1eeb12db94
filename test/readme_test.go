package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

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
	make := func(target string) {
		cmd := exec.Command("make", target, "DESTDIR="+dest, "CNI_BIN_DIR=/usr/lib/cni", "PREFIX=/usr")
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
	}
	make("install-dropin")
	for _, name := range []string{"bridge", "host", "overlay", "macvlan", "none", "berth-ipam", "loopback", "host-local"} {
		if to, err := os.Readlink(filepath.Join(dest, "usr/lib/cni", name)); to != "berth-cni" {
			t.Errorf("%s leads to %q, %v; want berth-cni", name, to, err)
		}
	}
	if out, err := exec.Command(filepath.Join(dest, "usr/bin/berth"), "version").Output(); err != nil || !strings.HasPrefix(string(out), "berth ") {
		t.Errorf("berth version: %q, %v", out, err)
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
	cni, _ := os.ReadDir(filepath.Join(dest, "usr/lib/cni"))
	if err != nil || len(cni) != 1 || cni[0].Name() != "bridge" || len(left) != 1 {
		t.Errorf("left after uninstall: %q, %v, %v; want the foreign bridge alone", left, cni, err)
	}
}
