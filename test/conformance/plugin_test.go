package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

var versions = []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// has tells whether a version of the specification has the verb.
func has(version, verb string) bool {
	first := map[string]string{"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}[verb]
	return slices.Index(versions, version) >= slices.Index(versions, first)
}

// bin is the directory of the plugins, built once.
var bin string

func TestMain(m *testing.M) { os.Exit(withPlugins(m)) }

func withPlugins(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "berth-conformance-"); err == nil {
		defer os.RemoveAll(bin)
		err = build()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build() error {
	for target, pkg := range map[string]string{
		"berth-cni": "github.com/berth-net/berth/cmd/berth-cni",
		"cnitool":   "github.com/containernetworking/cni/cnitool",
	} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(bin, target), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	for _, d := range drivers {
		if err := os.Symlink("berth-cni", filepath.Join(bin, d.name)); err != nil {
			return err
		}
	}
	return nil
}

// world is a host and a container on it that a driver is to serve.
type world struct {
	t      *testing.T
	host   *nettest.Host
	driver driver
	netns  string // the container's path
}

func newWorld(t *testing.T, d driver) *world {
	t.Helper()
	w := &world{t: t, host: newHost(t), driver: d}
	w.newContainer("c1")
	return w
}

// newContainer makes a namespace that nobody holds but its pin, so that it can
// die.
func (w *world) newContainer(name string) {
	w.t.Helper()
	if w.driver.sharesHost {
		name = "host"
		w.host.Run("sh", "-c", "mountpoint -q /run/netns/host || { mkdir -p /run/netns && touch /run/netns/host && mount --bind /proc/self/ns/net /run/netns/host; }")
	} else {
		w.host.Run("ip", "netns", "add", name)
	}
	w.netns = "/run/netns/" + name
}

// killContainer leaves the pin's file, as a crash of the runtime does.
func (w *world) killContainer() {
	w.t.Helper()
	w.host.Run("umount", "-l", w.netns)
}

func (w *world) removeContainer() {
	w.t.Helper()
	w.host.Try("umount", "-l", w.netns) // it may be dead already
	w.host.Run("rm", "-f", w.netns)
}

// inside runs a command in the container's namespace.
func (w *world) inside(name string, args ...string) (string, error) {
	w.t.Helper()
	return w.host.Try("nsenter", append([]string{"--net=" + w.netns, name}, args...)...)
}

// conf is the driver's configuration in a version; more keys begin with a
// comma.
func (w *world) conf(version, more string) string {
	keys := w.driver.keys
	if keys != "" {
		keys = ", " + keys
	}
	return fmt.Sprintf(`{"cniVersion": %q, "name": "net1", "type": %q%s%s}`, version, w.driver.name, keys, more)
}

// prev is a configuration's key with a result.
func prev(result string) string { return `, "prevResult": ` + result }

// env is the environment of a verb for container c1's eth0.
func (w *world) env(verb string, changes ...string) map[string]string {
	env := map[string]string{
		"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": w.netns, "CNI_PATH": bin,
	}
	for _, change := range changes {
		key, value, ok := strings.Cut(change, "=")
		if env[key] = value; !ok {
			delete(env, key)
		}
	}
	return env
}

// answer is what a caller sees of an execution.
type answer struct {
	code           int
	stdout, stderr string
}

// run executes the plugin on the host.
func (w *world) run(env map[string]string, stdin string) answer {
	w.t.Helper()
	return execute(w.t, w.host, w.driver.name, env, stdin)
}

func execute(t *testing.T, h *nettest.Host, plugin string, env map[string]string, stdin string) answer {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, plugin))
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, k+"="+env[k])
	}
	err := h.Do(cmd.Run)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("execute %s: %v", plugin, err)
	}
	return answer{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must is run for what must succeed; it returns the standard output.
func (w *world) must(verb, stdin string, changes ...string) string {
	w.t.Helper()
	a := w.run(w.env(verb, changes...), stdin)
	if a.code != 0 || a.stderr != "" || verb != "ADD" && a.stdout != "" {
		w.t.Fatalf("%s %s %q: exit code %d, stdout %s, stderr %q", w.driver.name, verb, changes, a.code, a.stdout, a.stderr)
	}
	return a.stdout
}

// failure is the error object of the specification.
type failure struct {
	CNIVersion   string `json:"cniVersion"`
	Code         int    `json:"code"`
	Msg, Details string
}

// refused is run for what must fail.
func (w *world) refused(verb, stdin string, changes ...string) failure {
	w.t.Helper()
	return w.run(w.env(verb, changes...), stdin).failure(w.t)
}

func (a answer) failure(t *testing.T) failure {
	t.Helper()
	var f failure
	err := json.Unmarshal([]byte(a.stdout), &f)
	if a.code == 0 || a.stderr != "" || err != nil || f.Code == 0 || f.Msg == "" || f.CNIVersion == "" {
		t.Fatalf("exit code %d, stdout %q, stderr %q: want an error object and a code: %v", a.code, a.stdout, a.stderr, err)
	}
	return f
}
