package container

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/plugins/resolvconf"
)

// validate refuses a configuration before anything of it is made.
func (c *Config) validate() error {
	return errors.Join(ValidateName(c.Name), c.validateProcess(), c.validateNetworks(), c.validateDNS())
}

func (c *Config) validateProcess() error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return fmt.Errorf("command: %w: none is given and the image has none", ErrInvalid)
	}
	for _, s := range append(append([]string{}, c.Args...), c.Env...) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("argument or environment %q: %w: a zero byte", s, ErrInvalid)
		}
	}
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		return fmt.Errorf("working directory %q: %w: want an absolute path", c.WorkingDir, ErrInvalid)
	}
	if c.Hostname != "" && (len(c.Hostname) > 64 || !validHostname(c.Hostname)) {
		return fmt.Errorf("hostname %q: %w: want RFC 1123 labels, at most 64 octets", c.Hostname, ErrInvalid)
	}
	if _, err := ParseSignal(c.StopSignal); err != nil {
		return fmt.Errorf("stop signal: %w", err)
	}
	return nil
}

func (c *Config) validateNetworks() error {
	for _, n := range c.Networks {
		if n.Mode != ModeNetwork && len(c.Networks) > 1 {
			return fmt.Errorf("network %s: %w: it cannot be combined with another", n, ErrInvalid)
		}
		if n.Mode != ModeNetwork && len(c.Ports) > 0 {
			return fmt.Errorf("published ports: %w with --network %s: the container has no address of its own there", ErrInvalid, n)
		}
	}
	return nil
}

// validateDNS looks at what goes into resolv.conf(5).
func (c *Config) validateDNS() error {
	for _, n := range c.Networks {
		if n.Mode == ModeContainer && !resolvconf.Empty(c.DNS) {
			return fmt.Errorf("nameservers: %w with --network %s: the container shares those of the other", ErrInvalid, n)
		}
	}
	for _, text := range c.DNS.Nameservers {
		if _, err := netip.ParseAddr(text); err != nil {
			return fmt.Errorf("nameserver %q: %w: want an address", text, ErrInvalid)
		}
	}
	for _, suffix := range c.DNS.Search {
		if suffix != "." && (len(suffix) > 253 || !validHostname(strings.TrimSuffix(suffix, "."))) {
			return fmt.Errorf("search domain %q: %w: want a domain, or a dot alone for none", suffix, ErrInvalid)
		}
	}
	for _, option := range c.DNS.Options {
		if !validOption(option) {
			return fmt.Errorf("resolver option %q: %w: want one of resolv.conf, such as ndots:2", option, ErrInvalid)
		}
	}
	return nil
}

// validOption tells whether it is a word of resolv.conf(5), such as rotate or
// ndots:2.
func validOption(option string) bool {
	word, number, numbered := strings.Cut(option, ":")
	return word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		(!numbered || number != "" && strings.Trim(number, "0123456789") == "")
}

func (n NetworkConfig) String() string {
	switch n.Mode {
	case ModeNetwork:
		return n.Name
	case ModeContainer:
		return "container:" + n.Name
	}
	return n.Mode
}

// ParseSignal reads a name with or without SIG, or a number. Empty is
// SIGTERM.
func ParseSignal(name string) (unix.Signal, error) {
	if name == "" {
		return unix.SIGTERM, nil
	}
	upper := strings.ToUpper(name)
	if s := unix.SignalNum("SIG" + strings.TrimPrefix(upper, "SIG")); s != 0 {
		return s, nil
	}
	var n int
	if _, err := fmt.Sscanf(upper+"\n", "%d\n", &n); err == nil && n > 0 && n < 65 {
		return unix.Signal(n), nil
	}
	return 0, fmt.Errorf("signal %q: %w: want a name such as TERM or a number from 1 to 64", name, ErrInvalid)
}
