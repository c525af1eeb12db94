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
	err := rootCommand().Execute()
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			fmt.Fprintln(os.Stderr, "berth:", exit.err)
		}
		return exit.code
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "berth:", err)
		return 1
	}
	return 0
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
		Use:           "berth",
		Short:         "Container networks and a small container runtime",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(versionCommand(), runCommand(), superviseCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "berth %s, commit %s, %s\n", version.Version, version.Commit, runtime.Version())
			return err
		},
	}
}
