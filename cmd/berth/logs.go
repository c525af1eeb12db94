package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/runtime/container"
)

func logsCommand() *cobra.Command {
	var o container.LogOptions
	var timestamps bool
	cmd := &cobra.Command{
		Use:     "logs [flags] CONTAINER",
		GroupID: groupContainers,
		Short:   "Print what a container has printed",
		Args:    exactArgs("CONTAINER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := container.Open()
			if err != nil {
				return err
			}
			c, err := store.Get(args[0])
			if err != nil {
				return err
			}
			return c.Logs(cmd.Context(), o, func(l container.LogLine) error {
				w := cmd.OutOrStdout()
				if l.Stream == container.Stderr {
					w = cmd.ErrOrStderr()
				}
				return printLog(w, l, timestamps)
			})
		},
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on until the container ends")
	cmd.Flags().BoolVarP(&timestamps, "timestamps", "t", false, "say when each line was printed")
	return cmd
}

func printLog(w io.Writer, l container.LogLine, timestamps bool) error {
	if timestamps {
		l.Log = l.Time.Format("2006-01-02T15:04:05.000000000Z07:00 ") + l.Log
	}
	_, err := io.WriteString(w, l.Log)
	return err
}
