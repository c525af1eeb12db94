package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/state"
)

func ipamInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "inspect NETWORK",
		Short:             "Tell how much of each range is used",
		Args:              exactArgs("NETWORK"),
		ValidArgsFunction: networkNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := openCatalogue()
			if err != nil {
				return err
			}
			usage, err := c.Usage(args[0])
			if err != nil {
				return err
			}
			unused, err := c.Unused(args[0])
			if err != nil {
				return err
			}
			for _, key := range unused {
				cmd.PrintErrf("berth: network %s: ipam.%s is not used: leases are in /run/berth\n", args[0], key)
			}
			raw, err := marshal(usage, "    ")
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", raw)
			}
			return err
		},
	}
}

var (
	errRecorded = errors.New("a container is attached with it")
	errNoLease  = errors.New("no such lease")
)

func ipamReleaseCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "release [flags] NETWORK ADDRESS",
		Short: "Free an address that nothing uses any more",
		Long: `Free an address that nothing uses any more, together with the others that the same
interface has leased. One that an attached container has is refused: disconnect the
container. --force frees that of another program's plugin, whose container lives.`,
		Args:              exactArgs("NETWORK", "ADDRESS"),
		ValidArgsFunction: networkNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := netip.ParseAddr(args[1])
			if err != nil {
				return &usageError{fmt.Errorf("%q is not an address", args[1])}
			}
			store, err := state.Default()
			if err != nil {
				return err
			}
			return store.Update(func(tx *state.Tx) error { return releaseAddress(tx, args[0], addr, force) })
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also where the namespace it was leased for lives")
	return cmd
}

func releaseAddress(tx *state.Tx, network string, addr netip.Addr, force bool) error {
	all, err := ipam.Holdings(tx, network)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(h ipam.Holding) bool { return slices.Contains(h.Addresses, addr) })
	switch {
	case i < 0:
		return fmt.Errorf("release %s of network %s: %w", addr, network, errNoLease)
	case endpoint.Has(tx, all[i].Key):
		return fmt.Errorf("release %s: %w: berth network disconnect %s %s", addr, errRecorded, network, all[i].ContainerID)
	case all[i].Alive() && !force:
		return fmt.Errorf("release %s: container %s, which it was leased for, lives; use --force if it does not need it",
			addr, all[i].ContainerID)
	}
	return ipam.Release(tx, all[i].Key)
}
