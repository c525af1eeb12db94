package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/cmd/agentflags"
	"github.com/berth-net/berth/state"
)

func agentCommand() *cobra.Command {
	f := new(agentflags.Flags)
	cmd := &cobra.Command{
		Use:     "agent",
		GroupID: groupHost,
		Short:   "Keep this host's networks right, and join a cluster",
		Long: `Without --etcd the agent serves this host alone: it reconciles records with the kernel.
With --etcd it also joins the cluster whose overlays are in etcd. It connects to it
directly: HTTP_PROXY and HTTPS_PROXY do not count.

A file of --config has a line for each flag, without the dashes, as in

  # where the cluster is
  etcd = https://10.0.0.1:2379,https://10.0.0.2:2379
  tls-ca = /etc/berth/ca.pem

and a flag wins over its line. Everything is checked before anything is touched.`,
		Example: `  berth agent --etcd http://192.0.2.100:2379
  berth agent --config /etc/berth/agent.conf --log-level debug
  berth agent --etcd http://198.51.100.7:2379 --bind 10.0.0.5 --advertise 203.0.113.5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.Read(cmd.Flags()); err != nil {
				return &usageError{err}
			}
			return becomeAgent(os.Args[2:])
		},
	}
	f.Define(cmd.Flags())
	cmd.AddCommand(agentStatusCommand(), agentForgetCommand(), agentRotateKeyCommand())
	return cmd
}

// agentProgram is beside this one. It has the clients of etcd, WireGuard and
// Prometheus in it, which take longer to start than most commands to run.
const agentProgram = "berth-agent"

// becomeAgent replaces this process by the agent, which takes the flags as
// they were typed.
func becomeAgent(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), agentProgram)
	if err := unix.Exec(path, append([]string{agentProgram}, args...), os.Environ()); err != nil {
		return fmt.Errorf("start the agent: exec %s: %w; install it beside %s", path, err, self)
	}
	return nil
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
			answer, err := api.Call(cmd.Context(), store, api.Request{Forget: &api.Forget{Host: args[0]}})
			if err != nil {
				return err
			}
			if answer.Freed == 0 {
				cmd.PrintErrf("berth: no block and no static address of the cluster is of a host %s\n", args[0])
			}
			return nil
		},
	}
}
