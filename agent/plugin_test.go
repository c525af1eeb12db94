package agent_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// buildPlugin makes the plugins' binary.
func buildPlugin(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "berth-cni")
	build := exec.Command("go", "build", "-o", path, "../cmd/berth-cni")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugins: %v\n%s", err, out)
	}
	return path
}

// buildAgent builds the binary that agents run as, as make build does.
func buildAgent(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "berth-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "../cmd/berth-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	return path
}

// pluginCall is a runtime's call of the binary, by a driver's name, for a
// network whose plugin is configured by the JSON object config.
func pluginCall(t testing.TB, h *nettest.Host, path, verb, driver, network, config string, c *nettest.Container) *exec.Cmd {
	t.Helper()
	var conf map[string]any
	if err := json.Unmarshal([]byte(config), &conf); err != nil {
		t.Fatal(err)
	}
	conf["cniVersion"], conf["name"] = "1.0.0", network
	raw, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.Command(path)
	cmd.Args[0] = driver // the binary is every plugin
	cmd.Stdin = strings.NewReader(string(raw))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID="+c.Name, "CNI_NETNS="+c.Path, "CNI_IFNAME=eth0", "CNI_PATH=/")
	return cmd
}
