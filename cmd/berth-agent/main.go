// Command berth-agent is what "berth agent" runs: the long-running process of
// a host, with all that a cluster takes. It is a binary of its own because
// starting what it links costs milliseconds, and every other command is done
// in fewer.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/agent"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/cmd/agentflags"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/state"
)

// gcPercent spends the processor's time for memory: an agent is there on every
// host and has little to do.
const gcPercent = 40

func main() {
	debug.SetGCPercent(gcPercent)
	err := run(os.Args[1:])
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return
	}
	const prefix = "berth: "
	fmt.Fprintln(os.Stderr, prefix+strings.ReplaceAll(err.Error(), "\n", "\n"+prefix))
	os.Exit(1)
}

func run(args []string) error {
	f, flags := new(agentflags.Flags), pflag.NewFlagSet("berth agent", pflag.ContinueOnError)
	f.Define(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: berth-agent takes flags only; see berth agent --help", flags.Arg(0))
	}
	if err := f.Read(flags); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	o, err := options(f)
	if err != nil {
		return err
	}
	a, err := agent.New(*o)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// options are the agent's. The flags have been checked.
func options(f *agentflags.Flags) (*agent.Options, error) {
	var level slog.Level
	o := &agent.Options{
		ReclaimAfter: f.Reclaim, Metrics: f.Metrics, Every: f.Every, NoNames: !f.Names,
		Cluster: cluster.Options{Servers: f.Etcd, TTL: f.TTL, User: f.User},
		Mesh:    mesh.Options{Implementation: f.Mesh.Implementation(), Port: f.Mesh.Port, Keepalive: f.Mesh.Keepalive},
	}
	var errs [7]error
	errs[0] = level.UnmarshalText([]byte(f.Level))
	o.Bind, errs[1] = f.Bind()
	o.Advertise, errs[2] = f.Advertise()
	o.Cluster.Password, errs[3] = f.Password()
	o.Cluster.TLS, errs[4] = f.TLS()
	o.Store, errs[5] = state.Default()
	o.NamesAt, errs[6] = f.NamesAt()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this host: %w", err)
	}
	o.Name = cmp.Or(f.Name, hostname)
	o.Catalogue, err = network.Open(network.Options{Store: o.Store})
	return o, err
}
