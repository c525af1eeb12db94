package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/berth-net/berth/agent"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/state"
)

// agentFlags are those of "berth agent", from its command line and its file.
type agentFlags struct {
	config             string
	etcd               []string
	ca, cert, key      string
	user, passwordFile string
	name               string
	bind, advertise    string
	metrics, level     string
	ttl, reclaim       time.Duration
	every              time.Duration
	mesh               meshFlags
	names              bool
	namesAt            string

	lines map[string]string // where the file has a flag: "FILE:LINE"
}

func (f *agentFlags) define(flags *pflag.FlagSet) {
	flags.StringVar(&f.config, "config", "", "file with a line for each of these flags: KEY = VALUE")
	flags.StringSliceVar(&f.etcd, "etcd", nil, "URLs of etcd's servers, separated by commas")
	flags.StringVar(&f.ca, "tls-ca", "", "file with the CA that signed the servers' certificates")
	flags.StringVar(&f.cert, "tls-cert", "", "file with this host's certificate")
	flags.StringVar(&f.key, "tls-key", "", "file with its key")
	flags.StringVar(&f.user, "etcd-user", "", "user to log in to etcd as")
	flags.StringVar(&f.passwordFile, "etcd-password-file", "", "file with the user's password")
	flags.StringVar(&f.name, "name", "", "of this host in the cluster (default: its hostname)")
	flags.StringVar(&f.bind, "bind", "", "address of this host that its tunnels leave from (default: the one towards etcd)")
	flags.StringVar(&f.advertise, "advertise", "", "address that the other hosts send to, where a NAT makes it another than --bind")
	flags.StringVar(&f.metrics, "metrics", "", "address to serve Prometheus at, such as 127.0.0.1:9470")
	flags.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	flags.DurationVar(&f.ttl, "ttl", 10*time.Second, "how long after a host's death the others notice")
	flags.DurationVar(&f.reclaim, "reclaim-after", time.Hour, "when a dead host's addresses may be given again; 0: never, but by: berth agent forget")
	flags.DurationVar(&f.every, "repair-every", 30*time.Second, "how often the kernel is compared with what it should be")
	flags.BoolVar(&f.names, "names", true, "serve names in containers of other runtimes, on networks that ask for it")
	flags.StringVar(&f.namesAt, "names-at", "", "loopback address, such as 127.0.0.54, at which this host itself may ask for containers' names")
	f.mesh.define(flags)
}

// read takes the file, where one is given, and checks everything. The error
// lists all that is wrong, each with where it is written.
func (f *agentFlags) read(flags *pflag.FlagSet) error {
	if f.config != "" {
		lines, err := setFromFile(flags, f.config)
		if err != nil {
			return err
		}
		f.lines = lines
	}
	for i, server := range f.etcd {
		f.etcd[i] = strings.TrimSpace(server)
	}
	return errors.Join(f.checkServers(), f.checkTLS(), f.checkLogin(), f.checkHost(), f.checkTimes(), f.checkMetrics(), f.checkMesh())
}

// wrong says what is the matter with a flag, by where it was given.
func (f *agentFlags) wrong(key, format string, args ...any) error {
	where := "--" + key
	if line := f.lines[key]; line != "" {
		where = line + ": " + key
	}
	return fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...))
}

func (f *agentFlags) checkServers() error {
	var errs []error
	for _, server := range f.etcd {
		u, err := url.Parse(server)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			errs = append(errs, f.wrong("etcd", "%q is no URL of a server; write it as https://HOST:2379", server))
		case u.Scheme == "http" && f.ca+f.cert+f.key != "":
			errs = append(errs, f.wrong("etcd", "%s is not encrypted, though a tls-… file is given; write https://", server))
		}
	}
	if len(f.etcd) > 0 {
		return errors.Join(errs...)
	}
	for _, o := range []struct{ key, value string }{
		{"tls-ca", f.ca}, {"tls-cert", f.cert}, {"tls-key", f.key}, {"etcd-user", f.user},
		{"etcd-password-file", f.passwordFile}, {"bind", f.bind}, {"advertise", f.advertise},
	} {
		if o.value != "" {
			errs = append(errs, f.wrong(o.key, "it is for a cluster; give etcd too"))
		}
	}
	return errors.Join(errs...)
}

func (f *agentFlags) checkTLS() error {
	switch {
	case f.cert != "" && f.key == "":
		return f.wrong("tls-cert", "give the certificate's key with tls-key")
	case f.key != "" && f.cert == "":
		return f.wrong("tls-key", "give the key's certificate with tls-cert")
	}
	_, err := f.tls()
	return err
}

func (f *agentFlags) checkLogin() error {
	switch {
	case f.user != "" && f.passwordFile == "":
		return f.wrong("etcd-user", "give the password with etcd-password-file")
	case f.user == "" && f.passwordFile != "":
		return f.wrong("etcd-password-file", "give the user with etcd-user")
	}
	_, err := f.password()
	return err
}

// validHostName is what can be a part of etcd's keys.
var validHostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)

func (f *agentFlags) checkHost() error {
	if f.name != "" && !validHostName.MatchString(f.name) {
		return f.wrong("name", "%q has something else than letters, digits, dots, dashes and underscores", f.name)
	}
	bind, err := f.addr("bind", f.bind)
	advertise, err2 := f.addr("advertise", f.advertise)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if bind.IsValid() && advertise.IsValid() && bind.Is4() != advertise.Is4() {
		return f.wrong("advertise", "%s and %s, which bind has, are of different families; a tunnel has one", advertise, bind)
	}
	return nil
}

// addr is an address of one host; not valid where none is given.
func (f *agentFlags) addr(key, value string) (netip.Addr, error) {
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

func (f *agentFlags) checkTimes() error {
	var errs []error
	if f.ttl < 2*time.Second {
		errs = append(errs, f.wrong("ttl", "%s is too short for etcd; give at least 2s", f.ttl))
	}
	if f.every <= 0 {
		errs = append(errs, f.wrong("repair-every", "%s is not a time between repairs", f.every))
	}
	if f.reclaim < 0 {
		errs = append(errs, f.wrong("reclaim-after", "%s is in the past; 0 is never", f.reclaim))
	}
	return errors.Join(errs...)
}

func (f *agentFlags) checkMetrics() error {
	if new(slog.Level).UnmarshalText([]byte(f.level)) != nil {
		return f.wrong("log-level", "%q is unknown; use debug, info, warn or error", f.level)
	}
	if _, _, err := net.SplitHostPort(f.metrics); err != nil && f.metrics != "" {
		return f.wrong("metrics", "%q is no address to listen at; write it as 127.0.0.1:9470", f.metrics)
	}
	return nil
}

func (f *agentFlags) checkMesh() error {
	if key, err := f.mesh.check(); err != nil {
		return f.wrong(key, "%w", err)
	}
	return nil
}

func (f *agentFlags) tls() (*tls.Config, error) {
	if f.ca == "" && f.cert == "" && f.key == "" {
		return nil, nil
	}
	return f.tlsOfFiles()
}

func (f *agentFlags) password() (string, error) {
	if f.passwordFile == "" {
		return "", nil
	}
	raw, err := os.ReadFile(f.passwordFile)
	if err != nil {
		return "", f.wrong("etcd-password-file", "%w", err)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// namesAddress is where the host itself may ask: on its loopback only, since
// elsewhere strangers could ask too.
func (f *agentFlags) namesAddress() (netip.AddrPort, error) {
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

// options are the agent's. The flags have been checked.
func (f *agentFlags) options(stderr io.Writer) (*agent.Options, error) {
	o := &agent.Options{Name: f.name, ReclaimAfter: f.reclaim, Metrics: f.metrics, Every: f.every, Mesh: f.mesh.options()}
	var level slog.Level
	o.NoNames = !f.names
	var errs [7]error
	errs[0] = level.UnmarshalText([]byte(f.level))
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	o.Cluster = cluster.Options{Servers: f.etcd, TTL: f.ttl, User: f.user}
	o.Bind, errs[1] = f.addr("bind", f.bind)
	o.Advertise, errs[2] = f.addr("advertise", f.advertise)
	o.Cluster.Password, errs[3] = f.password()
	o.Cluster.TLS, errs[4] = f.tls()
	o.Store, errs[5] = state.Default()
	o.NamesAt, errs[6] = f.namesAddress()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	o.Name = cmp.Or(f.name, hostname)
	o.Catalogue, err = network.Open(network.Options{Store: o.Store})
	return o, err
}
