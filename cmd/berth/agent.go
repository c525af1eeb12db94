package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/agent"
	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/state"
)

// agentFlags are those of "berth agent".
type agentFlags struct {
	etcd               []string
	ca, cert, key      string
	user, passwordFile string
	name, advertise    string
	metrics, level     string
	ttl, reclaim       time.Duration
	every              time.Duration
}

func agentCommand() *cobra.Command {
	f := new(agentFlags)
	cmd := &cobra.Command{
		Use:     "agent",
		GroupID: groupHost,
		Short:   "Keep this host's networks right, and join a cluster",
		Long: `Without --etcd the agent serves this host alone: it reconciles records with the kernel.
With --etcd it also joins the cluster whose overlays are in etcd.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.ErrOrStderr()) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.etcd, "etcd", nil, "URLs of etcd's servers, separated by commas")
	flags.StringVar(&f.ca, "tls-ca", "", "file with the CA that signed the servers' certificates")
	flags.StringVar(&f.cert, "tls-cert", "", "file with this host's certificate")
	flags.StringVar(&f.key, "tls-key", "", "file with its key")
	flags.StringVar(&f.user, "etcd-user", "", "user to log in to etcd as")
	flags.StringVar(&f.passwordFile, "etcd-password-file", "", "file with the user's password")
	flags.StringVar(&f.name, "name", "", "of this host in the cluster (default: its hostname)")
	flags.StringVar(&f.advertise, "advertise", "", "address that the other hosts send to (default: the one towards etcd)")
	flags.StringVar(&f.metrics, "metrics", "", "address to serve Prometheus at, such as 127.0.0.1:9470")
	flags.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	flags.DurationVar(&f.ttl, "ttl", 10*time.Second, "how long after a host's death the others notice")
	flags.DurationVar(&f.reclaim, "reclaim-after", time.Hour, "when a dead host's addresses may be given again; 0: never, but by: berth agent forget")
	flags.DurationVar(&f.every, "repair-every", 30*time.Second, "how often the kernel is compared with what it should be")
	cmd.AddCommand(agentStatusCommand(), agentForgetCommand())
	return cmd
}

func (f *agentFlags) run(ctx context.Context, stderr io.Writer) error {
	options, err := f.options(stderr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	a, err := agent.New(*options)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

func (f *agentFlags) options(stderr io.Writer) (*agent.Options, error) {
	o := &agent.Options{Name: f.name, ReclaimAfter: f.reclaim, Metrics: f.metrics, Every: f.every}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, &usageError{fmt.Errorf("--log-level %q: use debug, info, warn or error", f.level)}
	}
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	if f.ttl < 2*time.Second || f.every <= 0 || f.reclaim < 0 {
		return nil, &usageError{errors.New("--ttl must be at least 2s, --repair-every positive and --reclaim-after not negative")}
	}
	if f.advertise != "" {
		a, err := netip.ParseAddr(f.advertise)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--advertise: %w", err)}
		}
		o.Advertise = a
	}
	var err error
	if o.Name == "" {
		if o.Name, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	if o.Store, err = state.Default(); err != nil {
		return nil, err
	}
	if o.Catalogue, err = network.Open(network.Options{Store: o.Store}); err != nil {
		return nil, err
	}
	o.Cluster = cluster.Options{Servers: f.etcd, TTL: f.ttl, User: f.user}
	if f.passwordFile != "" {
		raw, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return nil, fmt.Errorf("--etcd-password-file: %w", err)
		}
		o.Cluster.Password = string(raw)
	}
	o.Cluster.TLS, err = f.tls()
	return o, err
}

func (f *agentFlags) tls() (*tls.Config, error) {
	if f.ca == "" && f.cert == "" && f.key == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		raw, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("--tls-ca: %s has no certificate", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func agentForgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget HOST",
		Short: "Say that a host is dead for good, so that its addresses can be given again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := state.Default()
			if err != nil {
				return err
			}
			_, err = api.Call(cmd.Context(), store, api.Request{Forget: &api.Forget{Host: args[0]}})
			return err
		},
	}
}
