package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/network"
)

func networkCollectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Remove what crashes have left",
		Long: `Remove what crashes have left: the links, rules, addresses and records of containers that
are gone, and of attachments that were never finished.`,
		Args: exactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := openCatalogue()
			if err != nil {
				return err
			}
			// First, because a dead container's namespace is still pinned.
			reaped := reapContainers(cmd.Context(), c)
			repairs, err := c.Reconcile(cmd.Context())
			printRepairs(cmd.OutOrStdout(), repairs)
			return errors.Join(reaped, err)
		},
	}
}

func printRepairs(w io.Writer, r *network.Repairs) {
	for _, k := range r.Endpoints {
		fmt.Fprintf(w, "endpoint %s\n", k)
	}
	for _, name := range r.Links {
		fmt.Fprintf(w, "link %s\n", name)
	}
	for _, l := range r.Leases {
		fmt.Fprintf(w, "lease %s\n", l.Key)
	}
}

func networkReloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Rebuild the packet filter from what is on record",
		Long: `Rebuild the packet filter from what is on record, after something else has flushed it.
Connections that are open stay.`,
		Args: exactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := openCatalogue()
			if err != nil {
				return err
			}
			done, err := c.Reload(cmd.Context())
			fmt.Fprintf(cmd.OutOrStdout(), "rebuilt the rules of %s on %s, with %s\n",
				several(done.Attachments, "container"), several(done.Networks, "network"), several(done.Ports, "published port"))
			return err
		},
	}
}
