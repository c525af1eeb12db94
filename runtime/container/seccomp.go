package container

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrNoSeccomp says that this binary cannot filter system calls. A container
// is not run without the filter unless that was asked for.
var ErrNoSeccomp = errors.New(`berth was built without seccomp: build it with -tags seccomp and libseccomp, or run with --security-opt seccomp=unconfined`)

// seccompProfile is the filter of a container with the capabilities, or nil
// where it is to have none.
func seccompProfile(s Security) (*specs.LinuxSeccomp, error) {
	if s.SeccompUnconfined {
		return nil, nil
	}
	if major, _, _ := seccomp.Version(); major == 0 {
		return nil, ErrNoSeccomp
	}
	return buildSeccomp(s.capabilities(), runtime.GOARCH)
}

func buildSeccomp(caps []string, arch string) (*specs.LinuxSeccomp, error) {
	archs, ok := subArchitectures[arch]
	if !ok {
		return nil, fmt.Errorf("seccomp profile: %w on %s: run with --security-opt seccomp=unconfined", errors.ErrUnsupported, arch)
	}
	eperm := uint(unix.EPERM)
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm, Architectures: archs,
		Syscalls: []specs.LinuxSyscall{{Names: allowedNames(caps, arch), Action: specs.ActAllow}},
	}
	p.Syscalls = append(p.Syscalls, socketRules()...)
	p.Syscalls = append(p.Syscalls, personalityRules()...)
	if !slices.Contains(caps, "CAP_SYS_ADMIN") {
		p.Syscalls = append(p.Syscalls, cloneRules(arch)...)
	}
	return p, nil
}

func allowedNames(caps []string, arch string) []string {
	var names []string
	for _, group := range append(slices.Clone(allowedCalls), archCalls[arch]) {
		names = append(names, strings.Fields(group)...)
	}
	for _, c := range slices.Sorted(maps.Keys(capabilityCalls)) {
		if slices.Contains(caps, c) {
			names = append(names, strings.Fields(capabilityCalls[c])...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func allowIf(name string, arg specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg}}
}

// socketRules allow every address family but AF_VSOCK, which is not
// namespaced and reaches the hypervisor, and AF_ALG, the kernel's crypto.
func socketRules() []specs.LinuxSyscall {
	return []specs.LinuxSyscall{
		allowIf("socket", specs.LinuxSeccompArg{Op: specs.OpLessThan, Value: unix.AF_ALG}),
		allowIf("socket", specs.LinuxSeccompArg{Op: specs.OpEqualTo, Value: unix.AF_NFC}),
		allowIf("socket", specs.LinuxSeccompArg{Op: specs.OpGreaterThan, Value: unix.AF_VSOCK}),
	}
}

// personalityRules allow PER_LINUX, PER_LINUX32, both with UNAME26, and the
// query; others, as ADDR_NO_RANDOMIZE, weaken what protects a process.
func personalityRules() []specs.LinuxSyscall {
	const linux32, uname26, query = 0x8, 0x20000, 0xffffffff
	var rules []specs.LinuxSyscall
	for _, v := range []uint64{0, linux32, uname26, uname26 | linux32, query} {
		rules = append(rules, allowIf("personality", specs.LinuxSeccompArg{Op: specs.OpEqualTo, Value: v}))
	}
	return rules
}

// cloneRules allow clone without a new namespace. clone3 has its flags in
// memory, where a filter cannot look; ENOSYS makes C libraries fall back.
func cloneRules(arch string) []specs.LinuxSyscall {
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	flags := specs.LinuxSeccompArg{Op: specs.OpMaskedEqual, Value: namespaces, ValueTwo: 0}
	if arch == "s390x" {
		flags.Index = 1 // the order of the arguments differs there (clone(2))
	}
	enosys := uint(unix.ENOSYS)
	return []specs.LinuxSyscall{
		allowIf("clone", flags),
		{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys},
	}
}
