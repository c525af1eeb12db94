package main

import (
	// The C constructor that enters a container's namespaces before the Go
	// runtime starts.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
	"github.com/spf13/cobra"

	"github.com/berth-net/berth/runtime/container"
)

func init() { container.MaybeInit() }

const superviseVerb = "supervise"

func superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    superviseVerb + " ID",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, networks, err := openContainers()
			if err != nil {
				return err
			}
			c, conn, err := store.Supervised(args[0])
			if err != nil {
				return err
			}
			return container.Supervise(cmd.Context(), c, conn, networks)
		},
	}
}
