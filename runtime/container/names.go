package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/resolvconf"
)

// names is how a container learns the addresses of others: from a resolver in
// its network namespace, or, where port 53 is not to be had there, from lines
// in its /etc/hosts that follow the containers that come and go.
type names struct {
	resolver *dns.Resolver
	client   dns.Client
	served   bool // the resolver listens
	log      *slog.Logger
}

// openNames opens the resolver in the container's namespace: before the
// container is attached to a network, so that nobody who watches attachments
// is there first.
func (s *supervisor) openNames() error {
	ns, err := s.openNetNS()
	if err != nil {
		return err
	}
	s.onEnd(ns.Close)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)) // the supervisor's log
	s.names = &names{
		resolver: dns.New(dns.Options{Store: s.c.store.state, Elsewhere: agentNames{s.c.store.state}, Log: log}),
		client:   dns.Client{NetNS: ns, Host: s.st.NetNS == "", DNS: s.c.DNS},
		log:      log,
	}
	if s.names.client.Host || slices.ContainsFunc(s.c.Ports, dns.IsPort) {
		return nil
	}
	listener, err := s.names.resolver.Listen(s.names.client, dns.Address, dns.Shared)
	if errors.Is(err, dns.ErrTaken) {
		return nil // by a nameserver in the container whose namespace this one shares
	}
	if err != nil {
		return err
	}
	s.names.served = true
	s.onEnd(listener.Close)
	return nil
}

func (s *supervisor) openNetNS() (*netns.Handle, error) {
	if s.st.NetNS == "" {
		return netns.Current()
	}
	return netns.Open(s.st.NetNS)
}

// resolvConf is the container's /etc/resolv.conf. A container on the host's
// network has the host's, and what was set for itself.
func (s *supervisor) resolvConf() (string, error) {
	if s.names.client.Host {
		if raw, err := os.ReadFile(resolvconf.DefaultPath); err == nil && resolvconf.Empty(s.c.DNS) {
			return string(raw), nil
		}
		host, err := resolvconf.Read(resolvconf.DefaultPath)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		return resolvconf.Format(resolvconf.Over(s.c.DNS, host)), nil
	}
	effective, err := s.names.resolver.Effective(s.names.client)
	if err != nil {
		return "", err
	}
	if s.names.served {
		effective.Nameservers = []string{dns.Address.Addr().String()}
	}
	return resolvconf.Format(effective), nil
}

// followHosts keeps lines about other containers at the end of the container's
// /etc/hosts, where there is no resolver, until the container ends.
func (s *supervisor) followHosts() error {
	if s.names.served {
		return nil
	}
	path := filepath.Join(s.c.Dir(), "hosts")
	base, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the container's /etc/hosts: %w", err)
	}
	write := func() error {
		lines, err := s.names.resolver.Hosts(s.names.client)
		if err != nil {
			return err
		}
		return rewrite(path, string(base)+lines)
	}
	if err := write(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- s.c.store.state.Watch(ctx, 0, func() {
			if err := write(); err != nil {
				s.names.log.Error("write the container's /etc/hosts", "err", err)
			}
		})
	}()
	s.onEnd(func() error { cancel(); return <-done })
	return nil
}

// rewrite changes a file in place: it is mounted in the container, which would
// go on seeing the old one if another took its name. A reader sees the old
// text or the new, because the kernel writes a page at a time; only the end of
// a shrinking file may be seen twice.
func rewrite(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil || string(old) == text {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	return errors.Join(err, f.Truncate(int64(len(text))), f.Close())
}

// aliasesOn are the container's other names on a network: what was asked for,
// and its host name, where that is not only its id.
func (s *supervisor) aliasesOn(n NetworkConfig) []string {
	aliases := slices.Clone(n.Aliases)
	if h := s.c.Hostname; h != s.c.ShortID() && h != s.c.Name && !slices.Contains(aliases, h) {
		aliases = append(aliases, h)
	}
	return aliases
}

// settings is what --dns and its kin say, for the networks' records; nil:
// nothing.
func (s *supervisor) settings() *plugins.DNS {
	if resolvconf.Empty(s.c.DNS) {
		return nil
	}
	return &s.c.DNS
}
