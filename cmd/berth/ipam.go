package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/state"
)

func ipamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ipam",
		GroupID: groupNetworks,
		Short:   "Look at leased addresses and release them",
		Args:    subcommandRequired,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(ipamListCommand(), ipamInspectCommand(), ipamReleaseCommand())
	return cmd
}

// leaseRow is a line of berth ipam ls.
type leaseRow struct {
	Network, Container, IfName, Addresses, NetNS, State string
	Since                                               time.Time
}

var leaseColumns = columns{
	"Network": "NETWORK", "Container": "CONTAINER", "IfName": "INTERFACE", "Addresses": "ADDRESSES",
	"NetNS": "NETNS", "State": "STATE", "Since": "SINCE",
}

const leaseTable = "{{.Network}}\t{{.Addresses}}\t{{.Container}}\t{{.IfName}}\t{{.State}}"

func ipamListCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ls [flags] [NETWORK]",
		Short: "List leased addresses",
		Long: `List leased addresses, of one network or of all.

STATE is "dead" where the network namespace that they were leased for is gone: the next
container that needs one of them gets it, and berth network gc frees all of them.`,
		Example: `  berth ipam ls front
  berth ipam ls --format '{{.Container}} {{.Addresses}}'`,
		Args:              atMostOne("NETWORK"),
		ValidArgsFunction: networkNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := leaseRows(strings.Join(args, ""))
			if err != nil {
				return err
			}
			return printRows(cmd.OutOrStdout(), format, leaseTable, leaseColumns, rows)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", formatUsage)
	return cmd
}

// atMostOne allows one argument or none.
func atMostOne(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return &usageError{fmt.Errorf("give one %s or none, not %d", name, len(args))}
		}
		return nil
	}
}

func leaseRows(network string) ([]leaseRow, error) {
	store, err := state.Default()
	if err != nil {
		return nil, err
	}
	var all []ipam.Holding
	err = store.View(func(tx *state.Tx) (err error) {
		all, err = ipam.Holdings(tx, network)
		return err
	})
	rows := make([]leaseRow, 0, len(all))
	for _, h := range all {
		row := leaseRow{
			Network: h.Network, Container: h.ContainerID, IfName: h.IfName, NetNS: h.NetNS, State: "dead", Since: h.Since,
		}
		if h.Alive() {
			row.State = "alive"
		}
		for _, a := range h.Addresses {
			row.Addresses = strings.TrimPrefix(row.Addresses+","+a.String(), ",")
		}
		rows = append(rows, row)
	}
	return rows, err
}
