package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/runtime/container"
)

func inspectCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "inspect [flags] CONTAINER...",
		GroupID: groupContainers,
		Short:   "Tell everything about containers",
		Args:    minimumArgs(1, "CONTAINER..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			views := []*container.View{}
			err := eachContainer(cmd.Context(), args, func(c *container.Container) error {
				v, err := c.Inspect()
				if err == nil {
					views = append(views, v)
				}
				return err
			})
			return errors.Join(printViews(cmd.OutOrStdout(), format, views), err)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "json", `"json", or a Go template such as "{{.State.PID}}"`)
	return cmd
}

func printViews(w io.Writer, format string, views []*container.View) error {
	if format == "json" {
		raw, err := marshal(views, "  ")
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", raw)
		}
		return err
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	for _, v := range views {
		if err := execute(w, t, v); err != nil {
			return err
		}
	}
	return nil
}
