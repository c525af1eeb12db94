package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/runtime/container"
)

func stopCommand() *cobra.Command {
	var seconds int
	cmd := &cobra.Command{
		Use:     "stop [flags] CONTAINER...",
		GroupID: groupContainers,
		Short:   "Ask containers to end, and kill those that do not",
		Args:    minimumArgs(1, "CONTAINER..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			// At once, so that the periods of grace do not add up.
			var wg sync.WaitGroup
			errs := make([]error, len(args))
			for i, ref := range args {
				wg.Go(func() {
					errs[i] = eachContainer(cmd.Context(), []string{ref}, func(c *container.Container) error {
						return c.Stop(cmd.Context(), time.Duration(seconds)*time.Second)
					})
				})
			}
			wg.Wait()
			for i, ref := range args {
				if errs[i] == nil {
					fmt.Fprintln(cmd.OutOrStdout(), ref)
				}
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().IntVarP(&seconds, "time", "t", 10, "seconds of grace before the kill")
	return cmd
}

func killCommand() *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use:     "kill [flags] CONTAINER...",
		GroupID: groupContainers,
		Short:   "Send containers a signal",
		Args:    minimumArgs(1, "CONTAINER..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			sig, err := container.ParseSignal(signal)
			if err != nil {
				return err
			}
			return eachContainer(cmd.Context(), args, func(c *container.Container) error {
				if err := c.Kill(cmd.Context(), sig); err != nil {
					return err
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), c.Name)
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "KILL", "name or number")
	return cmd
}
