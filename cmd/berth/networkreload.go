package main

import (
	"github.com/spf13/cobra"
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
			_ = c
			return nil
		},
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
			_ = c
			return nil
		},
	}
}
