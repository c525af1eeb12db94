// Command berth creates networks, connects containers of any runtime to them,
// and runs containers.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/internal/version"
)

// exitError carries an exit code of its own: that of a container's command.
type exitError struct {
	code int
	err  error // nil: the code says everything
}

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	os.Exit(run())
}

func run() int {
	cmd, err := rootCommand().ExecuteC()
	return exitCode(cmd, err)
}

// exitCode prints the error and chooses the exit code.
func exitCode(cmd *cobra.Command, err error) int {
	var exit *exitError
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.err != nil {
			cmd.PrintErrln(prefixed("berth: ", exit.err))
		}
		return exit.code
	case errors.As(err, &usage):
		cmd.PrintErrln(prefixed("berth: ", err))
		cmd.PrintErrf("See: %s --help\n", cmd.CommandPath())
		return exitUsage
	}
	cmd.PrintErrln(prefixed("berth: ", err))
	return 1
}

// asExit gives an error that has no exit code of its own one.
func asExit(code int, err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{code, err}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "berth",
		Short: "Container networks and a small container runtime",
		Long: `berth gives containers their networks: it creates networks of the kinds bridge, host,
overlay, macvlan and none, connects containers of any runtime to them while they run,
and runs containers itself.`,
		Args:          subcommandRequired,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddGroup(
		&cobra.Group{ID: groupContainers, Title: "Containers:"},
		&cobra.Group{ID: groupNetworks, Title: "Networks:"},
		&cobra.Group{ID: groupHost, Title: "Host:"},
	)
	root.SetHelpCommandGroupID(groupHost)
	root.SetCompletionCommandGroupID(groupHost)
	root.AddCommand(networkCommand(), ipamCommand(), agentCommand(), versionCommand())
	root.AddCommand(runCommand(), psCommand(), execCommand(), logsCommand(), stopCommand(), killCommand(),
		rmCommand(), inspectCommand(), superviseCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: groupHost,
		Short:   "Print version, commit and Go version",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "berth %s, commit %s, %s\n", version.Version, version.Commit, runtime.Version())
			return err
		},
	}
}
