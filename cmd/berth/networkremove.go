package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/network"
)

func networkRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rm [flags] NETWORK...",
		Aliases: []string{"remove"},
		Short:   "Remove networks",
		Long:    `Remove networks that berth made. One that a container is connected to is refused.`,
		Example: `  berth network rm front app`,
		Args:    minimumArgs(1, "NETWORK..."), ValidArgsFunction: networkNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := openCatalogue()
			if err != nil {
				return err
			}
			return eachOf(args, func(name string) error {
				err := removeNetwork(cmd, c, name)
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				if force && isNoNetwork(err) {
					return nil
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "a network that is not there is no error")
	return cmd
}

func networkPruneCommand() *cobra.Command {
	var filters []string
	var force bool
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove the networks that no container uses",
		Long: `Remove the networks that berth made and no container uses. A stopped container uses the
networks that it joins when it is started. The names of those removed are printed.`,
		Example: `  berth network prune --force --filter label=tier=data`,
		Args:    exactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := network.ParseFilters(filters)
			if err != nil {
				return &usageError{err}
			}
			if !force && !confirmed(cmd, "This removes every network that no container uses.") {
				return nil
			}
			return prune(cmd, parsed)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	cmd.Flags().StringArrayVar(&filters, "filter", nil, "KEY=VALUE with KEY driver, id, label or name")
	return cmd
}

func prune(cmd *cobra.Command, filters network.Filters) error {
	c, err := openCatalogue()
	if err != nil {
		return err
	}
	removed, err := c.Prune(cmd.Context(), filters, func(name string) error { return removeNetwork(cmd, c, name) })
	for _, name := range removed {
		fmt.Fprintln(cmd.OutOrStdout(), name)
	}
	return err
}

// confirmed asks on the terminal. Whoever cannot answer has not agreed.
func confirmed(cmd *cobra.Command, what string) bool {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s Go on? [y/N] ", what)
	answer, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 64)).ReadString('\n')
	return err == nil && strings.EqualFold(strings.TrimSpace(answer), "y")
}
