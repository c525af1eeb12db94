package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/runtime/container"
)

func rmCommand() *cobra.Command {
	var o container.RemoveOptions
	cmd := &cobra.Command{
		Use:     "rm [flags] CONTAINER...",
		GroupID: groupContainers,
		Short:   "Remove containers",
		Args:    minimumArgs(1, "CONTAINER..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, networks, err := openContainers()
			if err != nil {
				return err
			}
			o.Networks = networks
			var errs []error
			for _, ref := range args {
				err := removeOne(cmd, store, ref, o)
				if o.Force && errors.Is(err, container.ErrNotFound) {
					continue
				}
				if err == nil {
					_, err = fmt.Fprintln(cmd.OutOrStdout(), ref)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVarP(&o.Force, "force", "f", false, "kill those that run; one that is gone is no error")
	return cmd
}

func removeOne(cmd *cobra.Command, store *container.Store, ref string, o container.RemoveOptions) error {
	c, err := store.Get(ref)
	if err != nil {
		return err
	}
	return c.Remove(cmd.Context(), o)
}
