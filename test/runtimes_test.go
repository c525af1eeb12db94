package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// requireTools skips a test on a person's machine that lacks a tool, and
// fails it in CI.
func requireTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
	if os.Geteuid() != 0 {
		t.Skip("container runtimes need root")
	}
}

// served is a host with the network front, on which a container of berth
// serves at 10.10.0.10, and the plugins where runtimes look for them.
func served(t *testing.T) (h *nettest.Host, dir string) {
	t.Helper()
	h, dir = nettest.NewHost(t, "h"), t.TempDir()
	writeDemoImage(t, filepath.Join(dir, "image"))
	// The host's own mount namespace: nobody else sees this /opt.
	h.Run("mount", "-t", "tmpfs", "tmpfs", "/opt")
	h.Run("mkdir", "-p", "/opt/cni")
	h.Run("cp", "-a", filepath.Join(binaries(t), "cni"), "/opt/cni/bin")
	berth := filepath.Join(binaries(t), "berth")
	h.Run(berth, "network", "create", "--subnet", "10.10.0.0/24", "front")
	t.Cleanup(func() { h.Try(berth, "rm", "-f", "web") })
	h.Run(berth, "run", "-d", "--name", "web", "--network", "front:ip=10.10.0.10", "oci:"+filepath.Join(dir, "image"), "serve", ":80", "web")
	return h, dir
}

const webURL = "http://10.10.0.10/"

func TestPodmanUsesANetworkOfBerth(t *testing.T) {
	t.Parallel()
	requireTools(t, "podman", "runc")
	h, dir := served(t)
	conf := filepath.Join(dir, "containers.conf")
	err := os.WriteFile(conf, []byte(`[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	podman := func(args ...string) string {
		t.Helper()
		global := []string{"CONTAINERS_CONF=" + conf, "podman", "--root", "/run/podman/root", "--runroot", "/run/podman/run", "--storage-driver", "vfs"}
		return h.Run("env", append(global, args...)...)
	}
	// Podman makes a name of the path, and names have no capitals.
	h.Run("cp", "-a", filepath.Join(dir, "image"), "/run/image")
	id := strings.TrimSpace(podman("pull", "-q", "oci:/run/image"))
	answer := podman("run", "--rm", "--network", "front", "--runtime", "runc",
		"--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1000:1000", id, "get", webURL)
	if !strings.Contains(answer, "web 10.10.0.") {
		t.Errorf("podman's container got %q, want the answer of web to an address of front", answer)
	}
	expectOnlyWeb(t, h)
}

func TestContainerdUsesANetworkOfBerth(t *testing.T) {
	t.Parallel()
	requireTools(t, "containerd", "ctr", "runc")
	h, dir := served(t)
	conf := filepath.Join(dir, "containerd.toml")
	err := os.WriteFile(conf, []byte(`version = 2
root = "/run/ctrd/root"
state = "/run/ctrd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/ctrd/sock"
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	h.Background("containerd", "--config", conf)
	ctr := []string{"--address", "/run/ctrd/sock"}
	nettest.Eventually(t, "containerd", func() error {
		_, err := h.Try("ctr", append(ctr, "version")...)
		return err
	})
	tar := filepath.Join(dir, "image.tar")
	h.Run("tar", "-C", filepath.Join(dir, "image"), "-cf", tar, ".")
	h.Run("ctr", append(ctr, "images", "import", "--snapshotter", "native", "--base-name", "example.org/httpd", tar)...)
	answer := h.Run("ctr", append(ctr, "run", "--rm", "--cni", "--snapshotter", "native", "example.org/httpd:latest", "c1", "/httpd", "get", webURL)...)
	if !strings.Contains(answer, "web 10.10.0.") {
		t.Errorf("containerd's container got %q, want the answer of web to an address of front", answer)
	}
	expectOnlyWeb(t, h)
}

// expectOnlyWeb fails where the runtime's DEL has left its attachment.
func expectOnlyWeb(t *testing.T, h *nettest.Host) {
	t.Helper()
	lines, err := h.Inventory()
	if err != nil {
		t.Fatal(err)
	}
	var endpoints []string
	for _, line := range lines {
		if strings.HasPrefix(line, "endpoint ") {
			endpoints = append(endpoints, line)
		}
	}
	if len(endpoints) != 1 {
		t.Errorf("endpoints left: %q, want that of web alone", endpoints)
	}
}
