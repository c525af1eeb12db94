package container

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func namespaceTypes(s *specs.Spec) []specs.LinuxNamespaceType {
	var types []specs.LinuxNamespaceType
	for _, n := range s.Linux.Namespaces {
		types = append(types, n.Type)
	}
	return types
}

func TestSpecOnBothCgroupVersions(t *testing.T) {
	t.Parallel()
	for _, unified := range []bool{false, true} {
		in := specInput{Config: Config{ID: "0123"}, Rootfs: "/r", NetNS: "/n", OwnNet: true, Cgroup2: unified}
		spec := buildSpec(in)
		if got := slices.Contains(namespaceTypes(spec), specs.CgroupNamespace); got != unified {
			t.Errorf("cgroup 2 %v: cgroup namespace %v", unified, got)
		}
		if spec.Linux.CgroupsPath != "/berth/0123" {
			t.Errorf("cgroup %q", spec.Linux.CgroupsPath)
		}
		config, err := libcontainerConfig(in)
		if err != nil {
			t.Fatal(err)
		}
		if !config.NoNewPrivileges || config.Cgroups.Path != "/berth/0123" || len(config.MaskPaths) == 0 || len(config.ReadonlyPaths) == 0 {
			t.Errorf("cgroup 2 %v: %+v", unified, config)
		}
		if rule := config.Cgroups.Resources.Devices[0]; rule.Allow || rule.Type != 'a' {
			t.Errorf("the first rule of devices does not deny all: %+v", rule)
		}
	}
}

// TestHostNetworkKeepsItsSysctls: they would change the host's own.
func TestHostNetworkKeepsItsSysctls(t *testing.T) {
	t.Parallel()
	spec := buildSpec(specInput{Config: Config{ID: "0123"}})
	if len(spec.Linux.Sysctl) > 0 || slices.Contains(namespaceTypes(spec), specs.NetworkNamespace) {
		t.Errorf("%+v", spec.Linux)
	}
}

func TestSeccompProfile(t *testing.T) {
	t.Parallel()
	for arch := range subArchitectures {
		p, err := buildSeccomp(Security{}.capabilities(), arch)
		if err != nil {
			t.Fatal(err)
		}
		allowed := p.Syscalls[0].Names
		for _, name := range []string{"mount", "unshare", "setns", "bpf", "keyctl", "add_key", "kexec_load", "init_module", "io_uring_setup", "open_by_handle_at", "clone3", "clone", "socket", "userfaultfd", "reboot"} {
			if slices.Contains(allowed, name) {
				t.Errorf("%s: %s is allowed without condition", arch, name)
			}
		}
		for _, name := range []string{"openat", "execve", "futex", "epoll_wait", "chroot", "sendmsg"} {
			if !slices.Contains(allowed, name) {
				t.Errorf("%s: %s is not allowed", arch, name)
			}
		}
	}
	if _, err := buildSeccomp(nil, "pdp11"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("unknown architecture: %v", err)
	}
	p, _ := buildSeccomp(Security{CapAdd: []string{"CAP_SYS_ADMIN"}}.capabilities(), "amd64")
	if !slices.Contains(p.Syscalls[0].Names, "mount") {
		t.Error("CAP_SYS_ADMIN does not bring mount")
	}
}

func TestParseSignal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"": 15, "TERM": 15, "sigusr1": 10, "9": 9, "64": 64} {
		if got, err := ParseSignal(in); err != nil || int(got) != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"0", "65", "-1", "NONE", "9x", "1 2"} {
		if got, err := ParseSignal(in); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestMergeEnv(t *testing.T) {
	t.Parallel()
	got := MergeEnv([]string{"A=1", "AB=2"}, []string{"A=3", "C=", "C=4"})
	if strings.Join(got, " ") != "A=3 AB=2 C=4" {
		t.Errorf("%q", got)
	}
}
