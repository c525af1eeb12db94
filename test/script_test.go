package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// The test binary becomes each of these by argv[0].
	testscript.Main(tests{m}, map[string]func(){
		"in":    inMain,
		"get":   getMain,
		"ping":  pingMain,
		"retry": retryMain,
		"serve": serveMain,
	})
}

// tests removes what built has made when all have run.
type tests struct{ *testing.M }

func (m tests) Run() int {
	defer func() {
		if madeIn != "" {
			os.RemoveAll(madeIn)
		}
	}()
	return m.M.Run()
}

var madeIn string // directory that built has made

// built holds the binaries, made once however many scripts run.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "berth-bin-")
	if err != nil {
		return "", err
	}
	madeIn = dir
	return dir, build(dir)
})

func build(dir string) error {
	for _, args := range [][]string{
		{"build", "-tags", "seccomp netgo osusergo", "-o", filepath.Join(dir, "berth"), "./cmd/berth"},
		{"build", "-o", filepath.Join(dir, "berth-agent"), "./cmd/berth-agent"},
		{"build", "-o", filepath.Join(dir, "cni", "berth-cni"), "./cmd/berth-cni"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %q: %w\n%s", args, err, out)
		}
	}
	for _, name := range []string{"bridge", "host", "overlay", "macvlan", "none", "berth-ipam", "loopback", "host-local", "dhcp"} {
		if err := os.Symlink("berth-cni", filepath.Join(dir, "cni", name)); err != nil {
			return err
		}
	}
	return nil
}

// binaries is the directory of berth, with the plugins in cni below it.
func binaries(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                "scripts",
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("UPDATE") != "",
		Setup:              setup,
		Cmds:               commands,
		Condition:          condition,
	})
}

// condition knows tun: whether programs can make network devices, and
// br_netfilter: whether the kernel has it, and so the plugins may warn of it.
func condition(name string) (bool, error) {
	switch name {
	case "tun":
		f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if err != nil {
			return false, nil
		}
		return true, f.Close()
	case "br_netfilter":
		_, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-ip6tables")
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

func setup(env *testscript.Env) error {
	dir, err := built()
	if err != nil {
		return err
	}
	env.Values[scriptKey{}] = &script{t: env.T().(testing.TB)}
	env.Setenv("PATH", dir+":"+env.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("CNI_PATH", filepath.Join(dir, "cni"))
	return nil
}
