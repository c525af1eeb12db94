package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/runtime/container"
)

// psRow is a line of berth ps, with Docker's names of the fields.
type psRow struct {
	ID, Names, Image, Command, CreatedAt, RunningFor, State, Status, Networks, Ports, Labels string

	PID, ExitCode int
}

const psTable = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"

var psColumns = columns{
	"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
	"RunningFor": "CREATED", "State": "STATE", "Status": "STATUS", "Networks": "NETWORKS", "Ports": "PORTS",
	"Labels": "LABELS", "PID": "PID", "ExitCode": "EXIT CODE",
}

func psCommand() *cobra.Command {
	var all, quiet, noTrunc bool
	var format string
	cmd := &cobra.Command{
		Use:     "ps [flags]",
		GroupID: groupContainers,
		Short:   "List containers",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := listContainers(all)
			if err != nil {
				return err
			}
			if quiet {
				format = "{{.ID}}"
			}
			return printRows(cmd.OutOrStdout(), format, psTable, psColumns, rowsOf(list, noTrunc || format != ""))
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also those that do not run")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "ids only")
	cmd.Flags().BoolVar(&noTrunc, "no-trunc", false, "whole ids and commands")
	cmd.Flags().StringVar(&format, "format", "", formatUsage)
	return cmd
}

func listContainers(all bool) ([]*container.View, error) {
	store, err := container.Open()
	if err != nil {
		return nil, err
	}
	containers, err := store.List()
	if err != nil {
		return nil, err
	}
	var list []*container.View
	for _, c := range containers {
		view, err := c.Inspect()
		if errors.Is(err, container.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		if all || view.State.Status == container.Running {
			list = append(list, view)
		}
	}
	return list, nil
}

func rowsOf(list []*container.View, whole bool) []psRow {
	var rows []psRow
	for _, v := range list {
		row := rowOfContainer(v)
		if !whole {
			row.ID, row.Command = v.ID[:12], fmt.Sprintf("%q", truncate(row.Command, 30))
		}
		rows = append(rows, row)
	}
	return rows
}

func rowOfContainer(v *container.View) psRow {
	var networks, ports []string
	for _, n := range v.Networks {
		networks = append(networks, n.String())
	}
	for _, p := range v.Ports {
		ports = append(ports, formatPort(p))
	}
	return psRow{
		ID: v.ID, Names: v.Name, Image: v.Image, Command: strings.Join(v.Args, " "),
		CreatedAt: v.Created.Format("2006-01-02 15:04:05 -0700 MST"), RunningFor: age(v.Created) + " ago",
		State: string(v.State.Status), Status: statusText(v.State), PID: v.State.PID, ExitCode: v.State.ExitCode,
		Networks: strings.Join(networks, ","), Ports: strings.Join(ports, ", "), Labels: labelText(v.Labels),
	}
}

func statusText(st container.State) string {
	switch st.Status {
	case container.Running:
		return "Up " + age(st.Started)
	case container.Exited:
		return fmt.Sprintf("Exited (%d) %s ago", st.ExitCode, age(st.Finished))
	case container.Dead:
		return "Dead: its supervisor was killed"
	}
	return "Created"
}

// age is the time since t in one unit.
func age(t time.Time) string {
	d := time.Since(t)
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*unit.length {
			return fmt.Sprintf("%d %s", d/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}

func truncate(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
