package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/opencontainers/runc/libcontainer/seccomp"

	"github.com/berth-net/berth/nettest"
)

// The test binary is berth, or a registry, by the name it is started by; so
// is the supervisor, which starts /proc/self/exe.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "berth":
		os.Exit(run())
	case "registry":
		os.Exit(serveRegistry())
	}
	os.Exit(m.Run())
}

// serveRegistry serves on the loopback and prints where.
func serveRegistry() int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(listener.Addr())
	http.Serve(listener, registry.New())
	return 1
}

// runtimeHost is a host with berth and a root file system to run.
type runtimeHost struct {
	*nettest.Host
	t      *testing.T
	rootfs string
}

func newRuntimeHost(t *testing.T) *runtimeHost {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the runtime needs root")
	}
	if major, _, _ := seccomp.Version(); major == 0 {
		t.Skip("built without the tag seccomp")
	}
	return &runtimeHost{nettest.NewHost(t, "h"), t, "rootfs:" + makeRootfs(t)}
}

var applets = []string{"sh", "cat", "chroot", "echo", "env", "grep", "hostname", "id", "ip", "ls", "mount", "nslookup", "ping", "ps", "pwd", "sleep", "stty", "touch", "tty", "unshare", "wget"}

// makeRootfs makes a root file system of Debian's static busybox.
func makeRootfs(t *testing.T) string {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("package busybox-static: %v", err)
		}
		t.Skipf("package busybox-static: %v", err)
	}
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/busybox", string(busybox), 0o755)
	write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/home/web:/bin/sh\n", 0o644)
	write("etc/group", "root:x:0:\nweb:x:1001:\nlog:x:7:web\n", 0o644)
	write("data/default", "from the image\n", 0o644)
	write("hello.sh", helloScript, 0o755)
	write("foreign", "\x7fELF of another machine", 0o755)
	write("orphan.sh", "#!/no/such/interpreter\n", 0o755)
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

const helloScript = `#!/bin/sh
# what the tests' images run
set -e
echo "hello from $(hostname)"
echo "arguments: $*"
if [ -n "$GREETING" ]; then
	echo "greeting: $GREETING"
fi
echo "in $(pwd) as $(id -u):$(id -g)"
exit ${CODE:-0}
`

// command is a berth command on the host.
func (h *runtimeHost) command(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "berth"
	return cmd
}

type result struct {
	out, err string
	code     int
}

func (h *runtimeHost) try(args ...string) result {
	h.t.Helper()
	cmd := h.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := h.Do(cmd.Run)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("berth %q: %v", args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// berth runs a command that must succeed.
func (h *runtimeHost) berth(args ...string) string {
	h.t.Helper()
	r := h.try(args...)
	if r.code != 0 {
		h.t.Fatalf("berth %q: code %d\n%s%s", args, r.code, r.out, r.err)
	}
	return r.out
}

// start runs a container in the background that is removed with the test.
func (h *runtimeHost) start(name string, args ...string) {
	h.t.Helper()
	h.berth(append([]string{"run", "-d", "--name", name, "--network", "none"}, args...)...)
	h.t.Cleanup(func() { h.try("rm", "-f", name) })
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	nettest.Eventually(t, what, func() error {
		if !ok() {
			return errors.New("not yet")
		}
		return nil
	})
}

func (h *runtimeHost) inspect(name string) map[string]any {
	h.t.Helper()
	var views []map[string]any
	if err := json.Unmarshal([]byte(h.berth("inspect", name)), &views); err != nil || len(views) != 1 {
		h.t.Fatalf("inspect %s: %v", name, err)
	}
	return views[0]
}

func (h *runtimeHost) template(name, format string) string {
	h.t.Helper()
	return strings.TrimSpace(h.berth("inspect", "--format", format, name))
}

// leftovers is what the host and the machine's cgroups still have of
// containers.
func (h *runtimeHost) leftovers() []string {
	var left []string
	err := h.Do(func() error {
		for _, pattern := range []string{"/var/lib/berth/containers/*", "/var/lib/berth/names/[a-z]*", "/run/berth/*/netns/*", "/run/berth/*/containers/*"} {
			found, _ := filepath.Glob(pattern)
			left = append(left, found...)
		}
		mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
		for line := range strings.Lines(string(mounts)) {
			if strings.Contains(line, "/var/lib/berth/containers") || strings.Contains(line, "/netns/") {
				left = append(left, line)
			}
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return left
}

func cgroupsOf(id string) []string {
	v1, _ := filepath.Glob("/sys/fs/cgroup/*/berth/" + id)
	v2, _ := filepath.Glob("/sys/fs/cgroup/berth/" + id)
	return append(v1, v2...)
}

// testImage is an image of two layers from the root file system: the second
// one hides a file of the first.
func testImage(t *testing.T, rootfs string) v1.Image {
	t.Helper()
	base := layerOf(t, func(w *tar.Writer) {
		if err := w.AddFS(os.DirFS(rootfs)); err != nil {
			t.Fatal(err)
		}
	})
	top := layerOf(t, func(w *tar.Writer) {
		for _, name := range []string{"data/.wh.default", "opaque/.wh..wh..opq", "data/added"} {
			if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
		}
	})
	img, err := mutate.AppendLayers(empty.Image, base, top)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{
		Entrypoint: []string{"/hello.sh"}, Cmd: []string{"default", "arguments"}, Env: []string{"GREETING=from the image"},
		WorkingDir: "/data", User: "web:log", StopSignal: "SIGUSR1", Volumes: map[string]struct{}{"/volume": {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func layerOf(t *testing.T, fill func(*tar.Writer)) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func writeLayout(t *testing.T, img v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeArchive(t *testing.T, img v1.Image) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, name.MustParseReference("test:v1").(name.Tag), img); err != nil {
		t.Fatal(err)
	}
	return file
}

// startRegistry runs a registry process on the host's loopback and pushes the
// image to it.
func (h *runtimeHost) startRegistry(img v1.Image) (ref string, stop func()) {
	h.t.Helper()
	cmd := h.command()
	cmd.Args[0] = "registry"
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = h.Start(cmd)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	h.t.Cleanup(stop)
	var addr string
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		h.t.Fatal(err)
	}
	ref = addr + "/test/hello:v1"
	tag, err := name.NewTag(ref)
	if err == nil {
		err = remote.Write(tag, img, remote.WithTransport(h.HTTPClient().Transport))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return ref, stop
}

// supervisorOf is the supervisor that a berth run has started, or 0.
func supervisorOf(pid int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range tasks {
		raw, _ := os.ReadFile(path)
		for _, child := range strings.Fields(string(raw)) {
			cmdline, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if n, err := strconv.Atoi(child); err == nil && strings.Contains(string(cmdline), superviseVerb) {
				return n
			}
		}
	}
	return 0
}

// awaitLog waits until the container has printed a line.
func (h *runtimeHost) awaitLog(name, line string) {
	h.t.Helper()
	eventually(h.t, name+" prints "+line, func() bool {
		r := h.try("logs", name)
		return strings.Contains(r.out+r.err, line)
	})
}
