package container

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// capabilities are what a container's root may do. It is the set that OCI
// runtimes give by default without NET_RAW, whose raw and packet sockets
// forge ARP and ND (CVE-2020-10749, CVE-2021-32575). Ping needs no capability
// where net.ipv4.ping_group_range allows it.
var capabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// masked are files of the kernel that tell about the host or its hardware.
var masked = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
	"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

// readOnly are those by which the host could be changed.
var readOnly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// netSysctls are set in a network namespace of the container's own: ICMP echo
// sockets for every group, and low ports for every user, since the namespace
// has no ports that anybody else relies on.
var netSysctls = map[string]string{
	"net.ipv4.ping_group_range":           "0 2147483647",
	"net.ipv4.ip_unprivileged_port_start": "0",
}

// specInput is what Config leaves open until the container is made.
type specInput struct {
	Config
	Rootfs  string
	NetNS   string // path; empty: the host's
	OwnNet  bool   // NetNS is not the host's own
	Process specs.Process
	Mounts  []specs.Mount // in addition to the default ones
	Cgroup2 bool
	Seccomp *specs.LinuxSeccomp
}

// buildSpec makes the container's OCI runtime specification.
func buildSpec(in specInput) *specs.Spec {
	process := in.Process
	process.NoNewPrivileges = true
	caps := in.Security.capabilities()
	process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	spec := &specs.Spec{
		Version:  specs.Version,
		Root:     &specs.Root{Path: in.Rootfs},
		Process:  &process,
		Hostname: in.Hostname,
		Mounts:   append(kernelMounts(), in.Mounts...),
		Linux: &specs.Linux{
			MaskedPaths:   masked,
			ReadonlyPaths: readOnly,
			Namespaces:    namespaces(in),
			CgroupsPath:   cgroupPath(in.ID),
			Resources:     &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Seccomp:       in.Seccomp,
		},
	}
	if in.OwnNet {
		spec.Linux.Sysctl = netSysctls
	}
	return spec
}

func cgroupPath(id string) string { return "/berth/" + id }

// capabilities is the default set with what was added and dropped.
func (s Security) capabilities() []string {
	set := slices.Concat(capabilities, s.CapAdd)
	set = slices.DeleteFunc(set, func(c string) bool { return slices.Contains(s.CapDrop, c) })
	slices.Sort(set)
	return slices.Compact(set)
}

// ParseCapability reads a capability's name with or without CAP_.
func ParseCapability(name string) (string, error) {
	upper := strings.ToUpper(name)
	if upper == "" || strings.Trim(upper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return "", fmt.Errorf("capability %q: %w: want a name such as NET_ADMIN", name, ErrInvalid)
	}
	return "CAP_" + strings.TrimPrefix(upper, "CAP_"), nil
}

func namespaces(in specInput) []specs.LinuxNamespace {
	ns := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
	}
	if in.NetNS != "" {
		ns = append(ns, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: in.NetNS})
	}
	// On cgroup v1 a namespace would hide the container's own place from it
	// and gain nothing: the hierarchies are mounted read-only.
	if in.Cgroup2 {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return ns
}

func kernelMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}
