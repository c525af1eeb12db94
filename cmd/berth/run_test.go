package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRunLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	r := h.try("run", "--rm", "--network", "none", h.rootfs, "sh", "-c", "echo out; echo err >&2; exit 7")
	if r.code != 7 || r.out != "out\n" || r.err != "err\n" {
		t.Errorf("code %d, out %q, err %q", r.code, r.out, r.err)
	}
	if left := h.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestExitCodesTellWhoFailed(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	for _, c := range []struct {
		what string
		args []string
		code int
	}{
		{"a command that was not found", []string{h.rootfs, "no-such-command"}, 127},
		{"a path that was not found", []string{h.rootfs, "/no/such/command"}, 127},
		{"a command that cannot be run", []string{h.rootfs, "/etc/passwd"}, 126},
		{"a directory", []string{h.rootfs, "/etc"}, 126},
		{"a program for another machine", []string{h.rootfs, "/foreign"}, 126},
		{"a script whose interpreter is missing", []string{h.rootfs, "/orphan.sh"}, 126},
		{"the command's own 255", []string{h.rootfs, "sh", "-c", "exit 255"}, 255},
		{"a signal", []string{h.rootfs, "sh", "-c", "sh -c 'kill -9 $$'; exit $?"}, 128 + 9},
		{"an image that is not there", []string{"rootfs:/no/such/dir", "true"}, 125},
		{"an unknown user", []string{"-u", "nobody-here", h.rootfs, "id"}, 125},
		{"a relative working directory", []string{"-w", "here", h.rootfs, "id"}, 125},
	} {
		r := h.try(append([]string{"run", "--rm", "--network", "none"}, c.args...)...)
		if r.code != c.code {
			t.Errorf("%s: code %d, want %d\n%s", c.what, r.code, c.code, r.err)
		}
	}
	if left := h.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRunSetsUpTheProcess(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	out := h.berth("run", "--rm", "--network", "none", "-e", "A=1", "-e", "B=two words", "-w", "/data", "-u", "web:log",
		"--hostname", "ship.example", h.rootfs, "sh", "-c", `echo "$A|$B|$(pwd)|$(id -u):$(id -g)|$(hostname)|$HOME"; cat /etc/hostname`)
	if want := "1|two words|/data|1000:7|ship.example|/home/web\nship.example\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestImageSourcesRunTheSameImage(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	img := testImage(t, strings.TrimPrefix(h.rootfs, "rootfs:"))
	ref, stop := h.startRegistry(img)
	layout := writeLayout(t, img)
	for _, image := range []string{ref, "oci:" + layout, "oci:" + layout + ":v1", "docker-archive:" + writeArchive(t, img)} {
		r := h.try("run", "--rm", "--network", "none", "--hostname", "box", "-e", "CODE=3", image)
		want := "hello from box\narguments: default arguments\ngreeting: from the image\nin /data as 1000:7\n"
		if r.out != want || r.code != 3 {
			t.Errorf("%s: code %d, out %q, err %q", image, r.code, r.out, r.err)
		}
	}
	stop()
	// The image is here now: nobody is asked again, unless that is wanted.
	if out := h.berth("run", "--rm", "--network", "none", "--entrypoint", "ls", ref, "/data"); out != "added\n" {
		t.Errorf("the upper layer does not hide the lower one's file: %q", out)
	}
	if r := h.try("run", "--rm", "--pull", "always", "--network", "none", ref); r.code != 125 {
		t.Errorf("--pull always ran without a registry: %+v", r)
	}
	if left, _ := os.ReadDir("/var/lib/berth/volumes"); len(left) > 0 {
		t.Errorf("volumes were made on the machine: %v", left)
	}
}

func TestARootfsIsNeverModified(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.berth("run", "--rm", "--network", "none", h.rootfs, "sh", "-c", "echo x > /data/new && echo y > /data/default && mv /etc/passwd /etc/gone")
	dir := strings.TrimPrefix(h.rootfs, "rootfs:")
	if _, err := os.Stat(dir + "/data/new"); err == nil {
		t.Error("the container wrote to its image")
	}
	if raw, _ := os.ReadFile(dir + "/data/default"); string(raw) != "from the image\n" {
		t.Errorf("the container changed its image: %q", raw)
	}
}

func TestVolumesBindsAndTmpfs(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	bind := t.TempDir()
	h.berth("run", "--rm", "--network", "none", "-v", bind+":/b", "-v", "vol:/data", "--tmpfs", "/t", h.rootfs,
		"sh", "-c", "cat /data/default > /b/copied; echo kept > /data/kept; touch /t/x; mount | grep -q ' /t type tmpfs'")
	if raw, _ := os.ReadFile(bind + "/copied"); string(raw) != "from the image\n" {
		t.Errorf("a new volume does not have what the image has there: %q", raw)
	}
	if out := h.berth("run", "--rm", "--network", "none", "-v", "vol:/v:ro", h.rootfs, "cat", "/v/kept"); out != "kept\n" {
		t.Errorf("a volume did not keep its content: %q", out)
	}
	for _, mount := range []string{"vol:/v:ro", bind + ":/v:ro"} {
		if r := h.try("run", "--rm", "--network", "none", "-v", mount, h.rootfs, "touch", "/v/x"); r.code == 0 {
			t.Errorf("%s was written to", mount)
		}
	}
	for _, bad := range []string{"../up:/v", "a/b:/v", "vol:relative", "vol:/", "vol:/proc", "vol:/x/../proc", "v:/v:rw:x", bind + "/missing:/v"} {
		if r := h.try("run", "--rm", "--network", "none", "-v", bad, h.rootfs, "true"); r.code != 125 {
			t.Errorf("volume %q: code %d, want 125: %s", bad, r.code, r.err)
		}
	}
	if left := h.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestLogsFollowUntilTheEnd(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.start("talker", "-i=false", h.rootfs, "sh", "-c", "trap 'echo bye; exit 0' TERM; echo first; echo second >&2; while :; do sleep 0.05; done")
	h.awaitLog("talker", "second")
	cmd := h.command("logs", "-f", "talker")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = h.Start(cmd)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.berth("stop", "talker")
	all, err := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("logs -f: %v", err)
	}
	if string(all) != "first\nbye\n" || err != nil {
		t.Errorf("logs -f: %q, %v", all, err)
	}
	if r := h.try("logs", "talker"); r.out != "first\nbye\n" || r.err != "second\n" {
		t.Errorf("logs: %+v", r)
	}
}

func TestStopKillAndRemove(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.start("polite", "--stop-signal", "USR1", h.rootfs, "sh", "-c", "trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done")
	h.start("deaf", h.rootfs, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
	h.start("killed", h.rootfs, "sleep", "1000")
	h.awaitLog("polite", "ready")
	if r := h.try("rm", "killed"); r.code == 0 || !strings.Contains(r.err, "running") {
		t.Errorf("rm of a running container: %+v", r)
	}
	h.berth("stop", "-t", "1", "polite", "deaf")
	h.berth("kill", "killed")
	for name, code := range map[string]string{"polite": "exited 5", "deaf": "exited 137", "killed": "exited 137"} {
		if got := h.template(name, "{{.State.Status}} {{.State.ExitCode}}"); got != code {
			t.Errorf("%s: %s, want %s", name, got, code)
		}
	}
	h.berth("rm", "polite", "deaf", "killed")
	h.berth("rm", "-f", "polite")
	if r := h.try("rm", "polite"); r.code == 0 {
		t.Error("rm of nothing succeeded")
	}
	if left := h.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestNamesIdsAndPrefixes(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.start("one", h.rootfs, "sleep", "1000")
	id := h.template("one", "{{.ID}}")
	if got := h.template(id[:10], "{{.Name}}"); got != "one" {
		t.Errorf("by prefix: %q", got)
	}
	if r := h.try("run", "-d", "--name", "one", "--network", "none", h.rootfs, "true"); r.code != 125 || !strings.Contains(r.err, "taken") {
		t.Errorf("a second container of that name: %+v", r)
	}
	for _, bad := range []string{"../x", "-x", "a/b", "", "a b"} {
		if r := h.try("inspect", "--", bad); r.code == 0 {
			t.Errorf("inspect %q succeeded", bad)
		}
	}
	if out := h.berth("ps", "--format", "{{.Names}} {{.State}}"); out != "one running\n" {
		t.Errorf("ps: %q", out)
	}
}

func TestExecRunsInTheContainer(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.start("c", "-e", "A=1", h.rootfs, "sleep", "1000")
	r := h.try("exec", "-e", "B=2", "-u", "web", "-w", "/data", "c", "sh", "-c", "echo $A $B $(id -u) $(pwd); grep NoNewPrivs /proc/self/status; exit 4")
	if r.code != 4 || r.out != "1 2 1000 /data\nNoNewPrivs:\t1\n" {
		t.Errorf("exec: %+v", r)
	}
	cmd := h.command("exec", "-i", "c", "cat")
	cmd.Stdin = strings.NewReader("through\n")
	var out []byte
	err := h.Do(func() (err error) { out, err = cmd.Output(); return err })
	if err != nil || string(out) != "through\n" {
		t.Errorf("exec -i: %q, %v", out, err)
	}
	for command, code := range map[string]int{"/foreign": 126, "/orphan.sh": 126, "no-such-command": 127, "/etc/passwd": 126} {
		if r := h.try("exec", "c", command); r.code != code {
			t.Errorf("exec %s: code %d, want %d\n%s", command, r.code, code, r.err)
		}
	}
	if r := h.try("exec", "no-such", "true"); r.code != 125 {
		t.Errorf("exec in nothing: %+v", r)
	}
}

func TestTwentyContainersAtOnce(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	codes := make(chan int, 20)
	for range cap(codes) {
		go func() { codes <- h.try("run", "--rm", "--network", "none", h.rootfs, "sh", "-c", "exit 3").code }()
	}
	for range cap(codes) {
		if code := <-codes; code != 3 {
			t.Errorf("code %d", code)
		}
	}
	if left := h.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestKilledSupervisor kills supervisors at moments of the whole life of a
// container; rm -f must find everything that is left.
func TestKilledSupervisor(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	for delay := time.Duration(0); delay < 60*time.Millisecond; delay += 4 * time.Millisecond {
		cmd := h.command("run", "--name", "victim", "--network", "none", h.rootfs, "sleep", "1000")
		if err := h.Start(cmd); err != nil {
			t.Fatal(err)
		}
		var pid int
		eventually(t, "there is a supervisor", func() bool { pid = supervisorOf(cmd.Process.Pid); return pid != 0 })
		time.AfterFunc(delay, func() { unix.Kill(pid, unix.SIGKILL) })
		cmd.Wait() // the command ends when its supervisor does
		id := strings.TrimSpace(h.berth("ps", "-a", "--no-trunc", "-q"))
		h.berth("rm", "-f", "victim")
		if left := slices.Concat(h.leftovers(), cgroupsOf(id)); len(left) > 0 {
			t.Fatalf("after %v, left behind: %q", delay, left)
		}
	}
}

func TestACrashedContainerEndsWithItsSupervisor(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.start("c", h.rootfs, "sleep", "1000")
	var state struct{ Supervisor, PID int }
	state.Supervisor = int(h.inspect("c")["state"].(map[string]any)["supervisor"].(float64))
	state.PID = int(h.inspect("c")["state"].(map[string]any)["pid"].(float64))
	unix.Kill(state.Supervisor, unix.SIGKILL)
	eventually(t, "the container has ended", func() bool { return unix.Kill(state.PID, 0) == unix.ESRCH })
	eventually(t, "it is shown as dead", func() bool { return h.template("c", "{{.State.Status}}") == "dead" })
	h.berth("rm", "c")
	if left := h.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
