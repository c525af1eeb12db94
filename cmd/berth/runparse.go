package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/runtime/container"
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
