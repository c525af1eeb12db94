// Package agentflags is the flags of "berth agent". The command line explains
// and checks them, and hands them to the agent's own binary, which is too
// large to start for every other command.
package agentflags

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/berth-net/berth/internal/words"
)

// Flags are those of "berth agent", from its command line and its file.
type Flags struct {
	Name         string   // of the host; empty: its hostname
	Etcd         []string // URLs
	User         string
	Metrics      string
	Level        string
	TTL, Reclaim time.Duration
	Every        time.Duration
	Mesh         Mesh
	Names        bool

	bind, advertise, namesAt string
	ca, cert, key            string
	passwordFile             string
	config                   string
	lines                    map[string]string // where the file has a flag: "FILE:LINE"
}

// Define makes flags of them, with their defaults.
func (f *Flags) Define(flags *pflag.FlagSet) {
	flags.StringVar(&f.config, "config", "", "file with a line for each of these flags: KEY = VALUE")
	flags.StringSliceVar(&f.Etcd, "etcd", nil, "URLs of etcd's servers, separated by commas")
	flags.StringVar(&f.ca, "tls-ca", "", "file with the CA that signed the servers' certificates")
	flags.StringVar(&f.cert, "tls-cert", "", "file with this host's certificate")
	flags.StringVar(&f.key, "tls-key", "", "file with its key")
	flags.StringVar(&f.User, "etcd-user", "", "user to log in to etcd as")
	flags.StringVar(&f.passwordFile, "etcd-password-file", "", "file with the user's password")
	flags.StringVar(&f.Name, "name", "", "of this host in the cluster (default: its hostname)")
	flags.StringVar(&f.bind, "bind", "", "address of this host that its tunnels leave from (default: the one towards etcd)")
	flags.StringVar(&f.advertise, "advertise", "", "address that the other hosts send to, where a NAT makes it another than --bind")
	flags.StringVar(&f.Metrics, "metrics", "", "address to serve Prometheus at, such as 127.0.0.1:9470")
	flags.StringVar(&f.Level, "log-level", "info", "debug, info, warn or error")
	flags.DurationVar(&f.TTL, "ttl", 10*time.Second, "how long after a host's death the others notice")
	flags.DurationVar(&f.Reclaim, "reclaim-after", time.Hour, "when a dead host's addresses may be given again; 0: never, but by: berth agent forget")
	flags.DurationVar(&f.Every, "repair-every", 30*time.Second, "how often the kernel is compared with what it should be")
	flags.BoolVar(&f.Names, "names", true, "serve names in containers of other runtimes, on networks that ask for it")
	flags.StringVar(&f.namesAt, "names-at", "", "loopback address, such as 127.0.0.54, at which this host itself may ask for containers' names")
	f.Mesh.define(flags)
}

// Read takes the file, where one is given, and checks everything. The error
// lists all that is wrong, each with where it is written.
func (f *Flags) Read(flags *pflag.FlagSet) error {
	if f.config != "" {
		lines, err := setFromFile(flags, f.config)
		if err != nil {
			return err
		}
		f.lines = lines
	}
	for i, server := range f.Etcd {
		f.Etcd[i] = strings.TrimSpace(server)
	}
	return errors.Join(f.checkServers(), f.checkTLS(), f.checkLogin(), f.checkHost(), f.checkTimes(), f.checkMetrics(), f.checkMesh())
}

// wrong says what is the matter with a flag, by where it was given.
func (f *Flags) wrong(key, format string, args ...any) error {
	where := "--" + key
	if line := f.lines[key]; line != "" {
		where = line + ": " + key
	}
	return fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...))
}

func (f *Flags) checkServers() error {
	var errs []error
	for _, server := range f.Etcd {
		u, err := url.Parse(server)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			errs = append(errs, f.wrong("etcd", "%q is no URL of a server; write it as https://HOST:2379", server))
		case u.Scheme == "http" && f.ca+f.cert+f.key != "":
			errs = append(errs, f.wrong("etcd", "%s is not encrypted, though a tls-… file is given; write https://", server))
		}
	}
	if len(f.Etcd) > 0 {
		return errors.Join(errs...)
	}
	for _, o := range []struct{ key, value string }{
		{"tls-ca", f.ca}, {"tls-cert", f.cert}, {"tls-key", f.key}, {"etcd-user", f.User},
		{"etcd-password-file", f.passwordFile}, {"bind", f.bind}, {"advertise", f.advertise},
	} {
		if o.value != "" {
			errs = append(errs, f.wrong(o.key, "it is for a cluster; give etcd too"))
		}
	}
	return errors.Join(errs...)
}

func (f *Flags) checkTLS() error {
	switch {
	case f.cert != "" && f.key == "":
		return f.wrong("tls-cert", "give the certificate's key with tls-key")
	case f.key != "" && f.cert == "":
		return f.wrong("tls-key", "give the key's certificate with tls-cert")
	}
	_, err := f.TLS()
	return err
}

func (f *Flags) checkLogin() error {
	switch {
	case f.User != "" && f.passwordFile == "":
		return f.wrong("etcd-user", "give the password with etcd-password-file")
	case f.User == "" && f.passwordFile != "":
		return f.wrong("etcd-password-file", "give the user with etcd-user")
	}
	_, err := f.Password()
	return err
}

// longestHostName is DNS's; the name is a part of etcd's keys.
const longestHostName = 253

func (f *Flags) checkHost() error {
	if f.Name != "" && !words.Name(f.Name, longestHostName) {
		return f.wrong("name", "%q has something else than letters, digits, dots, dashes and underscores", f.Name)
	}
	bind, err := f.Bind()
	advertise, err2 := f.Advertise()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if bind.IsValid() && advertise.IsValid() && bind.Is4() != advertise.Is4() {
		return f.wrong("advertise", "%s and %s, which bind has, are of different families; a tunnel has one", advertise, bind)
	}
	return nil
}

// Bind is the address that the host's tunnels leave from; not valid where none
// is given.
func (f *Flags) Bind() (netip.Addr, error) { return f.addr("bind", f.bind) }

// Advertise is where the others send to; not valid where none is given.
func (f *Flags) Advertise() (netip.Addr, error) { return f.addr("advertise", f.advertise) }

// addr is an address of one host; not valid where none is given.
func (f *Flags) addr(key, value string) (netip.Addr, error) {
	if value == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(value)
	a = a.Unmap()
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return a, f.wrong(key, "%q is not the address of a host that others can send to", value)
	}
	return a, nil
}

func (f *Flags) checkTimes() error {
	var errs []error
	if f.TTL < 2*time.Second {
		errs = append(errs, f.wrong("ttl", "%s is too short for etcd; give at least 2s", f.TTL))
	}
	if f.Every <= 0 {
		errs = append(errs, f.wrong("repair-every", "%s is not a time between repairs", f.Every))
	}
	if f.Reclaim < 0 {
		errs = append(errs, f.wrong("reclaim-after", "%s is in the past; 0 is never", f.Reclaim))
	}
	return errors.Join(errs...)
}

func (f *Flags) checkMetrics() error {
	if new(slog.Level).UnmarshalText([]byte(f.Level)) != nil {
		return f.wrong("log-level", "%q is unknown; use debug, info, warn or error", f.Level)
	}
	if _, _, err := net.SplitHostPort(f.Metrics); err != nil && f.Metrics != "" {
		return f.wrong("metrics", "%q is no address to listen at; write it as 127.0.0.1:9470", f.Metrics)
	}
	return nil
}

func (f *Flags) checkMesh() error {
	if key, err := f.Mesh.check(); err != nil {
		return f.wrong(key, "%w", err)
	}
	return nil
}

// TLS is nil where no file for it is given.
func (f *Flags) TLS() (*tls.Config, error) {
	if f.ca == "" && f.cert == "" && f.key == "" {
		return nil, nil
	}
	return f.tlsOfFiles()
}

// Password is that of the user of etcd.
func (f *Flags) Password() (string, error) {
	if f.passwordFile == "" {
		return "", nil
	}
	raw, err := os.ReadFile(f.passwordFile)
	if err != nil {
		return "", f.wrong("etcd-password-file", "%w", err)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// NamesAt is where the host itself may ask: on its loopback only, since
// elsewhere strangers could ask too.
func (f *Flags) NamesAt() (netip.AddrPort, error) {
	if f.namesAt == "" {
		return netip.AddrPort{}, nil
	}
	at, err := netip.ParseAddrPort(f.namesAt)
	if addr, bare := netip.ParseAddr(f.namesAt); bare == nil {
		at, err = netip.AddrPortFrom(addr, 53), nil
	}
	if err != nil || !at.Addr().IsLoopback() {
		return at, f.wrong("names-at", "%q is not an address of the loopback, with or without a port", f.namesAt)
	}
	return at, nil
}
