package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/runtime/container"
	"github.com/berth-net/berth/runtime/volume"
)

func (f *runFlags) parseEnv(cfg *container.Config) error {
	env, err := parseEnv(f.env)
	cfg.Env = container.MergeEnv(cfg.Env, env)
	return err
}

// parseEnv reads K=V, or K for its value in our own environment; one that is
// not there is left out.
func parseEnv(args []string) ([]string, error) {
	var env []string
	for _, kv := range args {
		key, _, hasValue := strings.Cut(kv, "=")
		if key == "" {
			return nil, fmt.Errorf("--env %q: want K=V or K", kv)
		}
		if !hasValue {
			value, ok := os.LookupEnv(key)
			if !ok {
				continue
			}
			kv = key + "=" + value
		}
		env = append(env, kv)
	}
	return env, nil
}

func (f *runFlags) parseNetworks(cfg *container.Config) error {
	var errs []error
	for _, arg := range f.networks {
		n, err := parseNetwork(arg)
		cfg.Networks = append(cfg.Networks, n)
		errs = append(errs, err)
	}
	if len(f.networks) == 0 {
		cfg.Networks = []container.NetworkConfig{{Name: "bridge"}}
	}
	for i, n := range cfg.Networks {
		if n.Mode != container.ModeNetwork && len(f.aliases) > 0 {
			errs = append(errs, fmt.Errorf("--network-alias: a container has no names of its own on --network %s", n))
		}
		cfg.Networks[i].Aliases = append(n.Aliases, f.aliases...)
	}
	return errors.Join(errs...)
}

// parseNetwork reads NET[:K=V[,K=V]…]. The keys are ip and ip6, mac, alias and
// interface.
func parseNetwork(arg string) (container.NetworkConfig, error) {
	name, rest, hasRest := strings.Cut(arg, ":")
	n := container.NetworkConfig{Name: name}
	switch {
	case name == container.ModeContainer && hasRest:
		return container.NetworkConfig{Mode: name, Name: rest}, nil
	case (name == container.ModeHost || name == container.ModeNone) && !hasRest:
		return container.NetworkConfig{Mode: name}, nil
	case name == "" || hasRest && rest == "":
		return n, fmt.Errorf("--network %q: want NET[:ip=ADDR][,…], host, none or container:NAME", arg)
	}
	if !hasRest {
		return n, nil
	}
	for option := range strings.SplitSeq(rest, ",") {
		if err := networkOption(&n, option); err != nil {
			return n, fmt.Errorf("--network %q: %w", arg, err)
		}
	}
	return n, nil
}

func networkOption(n *container.NetworkConfig, option string) error {
	key, value, _ := strings.Cut(option, "=")
	switch key {
	case "ip", "ip6":
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return fmt.Errorf("option %q: %w", option, err)
		}
		n.IPs = append(n.IPs, addr)
	case "mac":
		mac, err := net.ParseMAC(value)
		if err != nil {
			return fmt.Errorf("option %q: %w", option, err)
		}
		n.MAC = mac
	case "alias":
		n.Aliases = append(n.Aliases, value)
	case "interface":
		n.IfName = value
	default:
		return fmt.Errorf("option %q: the options are ip=, ip6=, mac=, alias= and interface=", option)
	}
	return nil
}

// parseMounts reads --volume and --tmpfs, and gives each volume that the image
// declares and the command line does not mount a new one.
func (f *runFlags) parseMounts(cfg *container.Config, declared []string) error {
	var errs []error
	for _, arg := range f.volumes {
		m, err := volume.Parse(arg)
		cfg.Mounts = append(cfg.Mounts, m)
		errs = append(errs, err)
	}
	for _, arg := range f.tmpfs {
		m, err := volume.ParseTmpfs(arg)
		cfg.Mounts = append(cfg.Mounts, m)
		errs = append(errs, err)
	}
	for _, target := range declared {
		target = path.Clean(target)
		if !slices.ContainsFunc(cfg.Mounts, func(m volume.Mount) bool { return path.Clean(m.Target) == target }) {
			m := volume.Anonymous(target)
			cfg.Mounts = append(cfg.Mounts, m)
			errs = append(errs, m.Validate())
		}
	}
	return errors.Join(errs...)
}

func (f *runFlags) parsePorts(cfg *container.Config) error {
	ports, err := parsePorts(f.publish)
	cfg.Ports = append(cfg.Ports, ports...)
	return err
}

const publishUsage = "publish a port: [ADDR:]HOST:CTR[/tcp|udp|sctp]"

func parsePorts(args []string) (ports []plugins.PortMapping, _ error) {
	var errs []error
	for _, arg := range args {
		p, err := parsePort(arg)
		ports = append(ports, p)
		errs = append(errs, err)
	}
	return ports, errors.Join(errs...)
}

// parsePort reads [ADDR:]HOST:CTR[/PROTOCOL], in which HOST and CTR may be
// ranges of the same length. An IPv6 address is in brackets.
func parsePort(arg string) (plugins.PortMapping, error) {
	var p plugins.PortMapping
	bad := func(why string) error {
		return fmt.Errorf("--publish %q: %s: want [ADDR:]HOST:CTR[/tcp|udp|sctp]", arg, why)
	}
	rest, protocol, ok := strings.Cut(arg, "/")
	if !ok {
		protocol = "tcp"
	}
	if p.Protocol = strings.ToLower(protocol); !slices.Contains([]string{"tcp", "udp", "sctp"}, p.Protocol) {
		return p, bad("unknown protocol")
	}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return p, bad("no host port")
	}
	host, ctr := rest[:i], rest[i+1:]
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		addr, err := netip.ParseAddr(strings.Trim(host[:i], "[]"))
		if err != nil {
			return p, bad(err.Error())
		}
		p.HostIP, host = addr, host[i+1:]
	}
	hostPort, hostCount, err := portRange(host)
	if err != nil {
		return p, bad(err.Error())
	}
	ctrPort, ctrCount, err := portRange(ctr)
	if err != nil {
		return p, bad(err.Error())
	}
	if hostCount != ctrCount {
		return p, bad("ranges of different lengths")
	}
	p.HostPort, p.ContainerPort = hostPort, ctrPort
	if hostCount > 1 {
		p.Count = hostCount
	}
	return p, nil
}

func portRange(s string) (first, count uint16, err error) {
	from, to, isRange := strings.Cut(s, "-")
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil || a == 0 {
		return 0, 0, fmt.Errorf("port %q is not from 1 to 65535", from)
	}
	if !isRange {
		return uint16(a), 1, nil
	}
	b, err := strconv.ParseUint(to, 10, 16)
	if err != nil || b < a {
		return 0, 0, fmt.Errorf("port range %q does not ascend", s)
	}
	return uint16(a), uint16(b - a + 1), nil
}

// formatPort is a published port as ps shows it.
func formatPort(p plugins.PortMapping) string {
	host := "0.0.0.0"
	if p.HostIP.IsValid() {
		host = p.HostIP.String()
	}
	last := ""
	if p.Count > 1 {
		last = fmt.Sprintf("-%d", p.HostPort+p.Count-1)
	}
	return fmt.Sprintf("%s->%d/%s", net.JoinHostPort(host, fmt.Sprint(p.HostPort)+last), p.ContainerPort, p.Protocol)
}

func (f *runFlags) parseSecurity(cfg *container.Config) error {
	for _, opt := range f.securityOpt {
		if opt != "seccomp=unconfined" {
			return fmt.Errorf("--security-opt %q: want seccomp=unconfined", opt)
		}
		cfg.Security.SeccompUnconfined = true
	}
	for _, name := range f.capAdd {
		c, err := container.ParseCapability(name)
		if err != nil {
			return fmt.Errorf("--cap-add: %w", err)
		}
		cfg.Security.CapAdd = append(cfg.Security.CapAdd, c)
	}
	for _, name := range f.capDrop {
		c, err := container.ParseCapability(name)
		if err != nil {
			return fmt.Errorf("--cap-drop: %w", err)
		}
		cfg.Security.CapDrop = append(cfg.Security.CapDrop, c)
	}
	return nil
}

func (f *runFlags) parseLabels(cfg *container.Config) error {
	for _, kv := range f.labels {
		key, value, _ := strings.Cut(kv, "=")
		if key == "" {
			return fmt.Errorf("--label %q: want K=V", kv)
		}
		if cfg.Labels == nil {
			cfg.Labels = map[string]string{}
		}
		cfg.Labels[key] = value
	}
	return nil
}
