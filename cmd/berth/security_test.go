package main

import (
	"os"
	"strings"
	"testing"
)

// TestSecurityDefaults asks the kernel, inside the container, what it is
// confined by.
func TestSecurityDefaults(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	out := h.berth("run", "--rm", "--network", "none", h.rootfs, "sh", "-c", `
grep -E '^(CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status
cat /proc/keys /proc/timer_list | wc -c 2>/dev/null || cat /proc/keys
ls /sys/firmware
(echo 1 > /proc/sys/kernel/domainname) 2>&1
touch /sys/x 2>&1
(echo 1 > /sys/fs/cgroup/pids/x) 2>&1
cat /proc/sys/net/ipv4/ping_group_range
ls /proc/self/fd`)
	for _, want := range []string{
		"CapEff:\t00000000a80405fb", "CapBnd:\t00000000a80405fb", "CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1", "Seccomp:\t2", "0\t2147483647",
		"/proc/sys/kernel/domainname: Read-only file system", "/sys/x: Read-only file system",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
}

// TestNoRawSockets: forged ARP and router advertisements start from packet
// and raw sockets (CVE-2020-10749, CVE-2021-32575), and ping works without.
func TestNoRawSockets(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	if r := h.try("run", "--rm", "--network", "none", h.rootfs, "busybox", "arping", "-c1", "-w1", "127.0.0.1"); r.code == 0 || !strings.Contains(r.err, "not permitted") {
		t.Errorf("a packet socket was opened: %+v", r)
	}
	// Debian's ping, since busybox's knows raw sockets only; a copy, without
	// the file's capability, which could not be had here.
	ping, err := os.ReadFile("/usr/bin/ping")
	if err != nil {
		t.Skipf("package iputils-ping: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/ping", ping, 0o755); err != nil {
		t.Fatal(err)
	}
	r := h.try("run", "--rm", "--network", "none", "-u", "web", "-v", dir+":/own:ro", "-v", "/usr:/usr:ro", "-v", "/lib:/lib:ro",
		"-v", "/lib64:/lib64:ro", h.rootfs, "/own/ping", "-c1", "-W1", "127.0.0.1")
	if r.code != 0 {
		t.Errorf("ping as a user: %+v", r)
	}
}

// TestNoNewNamespaces: in a user namespace of its own a process has every
// capability towards the kernel's less travelled paths.
func TestNoNewNamespaces(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	for _, kind := range []string{"-U", "-m", "-n"} {
		if r := h.try("run", "--rm", "--network", "none", h.rootfs, "unshare", kind, "true"); !strings.Contains(r.err, "not permitted") {
			t.Errorf("unshare %s: %+v", kind, r)
		}
	}
}

// TestOnlyAllowedDevices: a node can be made, and not opened.
func TestOnlyAllowedDevices(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	r := h.try("run", "--rm", "--network", "none", h.rootfs, "sh", "-c",
		"busybox mknod /mem c 1 1 && cat /mem; busybox mknod /null c 1 3 && echo x > /null && echo null works")
	if !strings.Contains(r.err, "not permitted") || r.out != "null works\n" {
		t.Errorf("devices: %+v", r)
	}
}

// TestCVE_2024_21626_NoLeakedDescriptors: a descriptor of a host's directory
// would be a way out.
func TestCVE_2024_21626_NoLeakedDescriptors(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	h.start("c", h.rootfs, "sleep", "1000")
	for _, args := range [][]string{{"run", "--rm", "--network", "none", h.rootfs}, {"exec", "c"}} {
		out := h.berth(append(args, "sh", "-c", "exec ls -l /proc/self/fd")...)
		for line := range strings.Lines(out) {
			fd := strings.Fields(line)
			if len(fd) < 3 || fd[len(fd)-2] != "->" {
				continue
			}
			number, target := fd[len(fd)-3], fd[len(fd)-1]
			if strings.Contains("0 1 2", number) || strings.HasPrefix(target, "/proc/") {
				continue
			}
			t.Errorf("%s: descriptor %s leads to %s", args[0], number, target)
		}
	}
	for _, cwd := range []string{"/proc/self/fd/3", "/proc/self/fd/7"} {
		if r := h.try("run", "--rm", "--network", "none", "-w", cwd, h.rootfs, "pwd"); r.code == 0 {
			t.Errorf("the working directory %s was taken: %s", cwd, r.out)
		}
	}
}

// TestHostileEtcPasswd: the image's files are read by the host.
func TestHostileEtcPasswd(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	dir := strings.TrimPrefix(h.rootfs, "rootfs:")
	for _, c := range []struct{ what, script string }{
		{"a link to the host's", "ln -s ../../../../../../../../../etc/passwd"},
		{"an absolute link", "ln -s /etc/shadow"},
		{"a FIFO, which hangs its reader", "mkfifo"},
		{"a directory", "mkdir"},
	} {
		h.Run("sh", "-c", "rm -rf "+dir+"/etc/passwd; "+c.script+" "+dir+"/etc/passwd")
		if r := h.try("run", "--rm", "--network", "none", "-u", "daemon", h.rootfs, "id"); r.code != 125 {
			t.Errorf("%s: %+v", c.what, r)
		}
	}
}

func TestCapabilitiesAndSeccompCanBeChosen(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	out := h.berth("run", "--rm", "--network", "none", "--cap-drop", "CHOWN", "--cap-add", "net_raw", "--security-opt", "seccomp=unconfined",
		h.rootfs, "grep", "-E", "CapEff|Seccomp:", "/proc/self/status")
	if out != "CapEff:\t00000000a80425fa\nSeccomp:\t0\n" {
		t.Errorf("got %q", out)
	}
}

// TestCgroup2 gives the host a unified hierarchy, where devices are guarded by
// a BPF program.
func TestCgroup2(t *testing.T) {
	t.Parallel()
	h := newRuntimeHost(t)
	const unified = "/sys/fs/cgroup/unified"
	if _, err := os.Stat(unified + "/cgroup.procs"); err != nil {
		t.Skipf("no hierarchy of version 2 beside those of version 1: %v", err)
	}
	h.Run("mount", "--bind", unified, "/sys/fs/cgroup")
	r := h.try("run", "--rm", "--network", "none", h.rootfs, "sh", "-c",
		"mount | grep -c 'type cgroup2 (ro'; grep -q '^0::/$' /proc/self/cgroup && echo own namespace; busybox mknod /mem c 1 1 && cat /mem")
	if r.out != "1\nown namespace\n" || !strings.Contains(r.err, "not permitted") {
		t.Errorf("%+v", r)
	}
	h.start("c", h.rootfs, "sleep", "1000")
	id := h.template("c", "{{.ID}}")
	h.berth("rm", "-f", "c")
	if left := append(h.leftovers(), cgroupsOf(id)...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
