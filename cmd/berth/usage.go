package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/network"
)

// Groups of the root's help.
const (
	groupContainers = "containers"
	groupNetworks   = "networks"
	groupHost       = "host"
)

// exitUsage is the exit code for a command line that cannot be understood.
const exitUsage = 2

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// exactArgs demands the arguments by their names.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > len(names):
			return &usageError{fmt.Errorf("unexpected argument %q", args[len(names)])}
		case len(args) < len(names):
			return &usageError{fmt.Errorf("missing argument %s", strings.Join(names[len(args):], " "))}
		}
		return nil
	}
}

func minimumArgs(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return &usageError{fmt.Errorf("missing argument %s", what)}
		}
		return nil
	}
}

// subcommandRequired is for a command that only has others below it.
func subcommandRequired(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil // help
	}
	cmd.SuggestionsMinimumDistance = 2
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(like, " or "))
	}
	return &usageError{err}
}

// complete lists a flag's values for shell completion.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag's name is misspelt
	}
}

// eachOf does all, past errors.
func eachOf(names []string, do func(string) error) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, do(name))
	}
	return errors.Join(errs...)
}

// warn tells of what did not hinder the command.
func warn(cmd *cobra.Command, err error) {
	if err != nil {
		cmd.PrintErrln(prefixed("berth: warning: ", err))
	}
}

// prefixed puts the prefix before each of joined errors.
func prefixed(prefix string, err error) string {
	return prefix + strings.ReplaceAll(err.Error(), "\n", "\n"+prefix)
}

func isNoNetwork(err error) bool { return errors.Is(err, network.ErrNoNetwork) }
