package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/network"
)

func networkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "network",
		Aliases: []string{"net"},
		GroupID: groupNetworks,
		Short:   "Create networks and connect containers to them",
		Long: `Create networks and connect containers to them.

A network is a CNI configuration list in /etc/cni/net.d: every CNI runtime of the
host can use those that berth makes, and berth those that others wrote. The networks
bridge, host and none exist without being created.

CONTAINER is the name or id of a container of berth, or of one that a CNI runtime has
attached to a network; pid:N, a process of any container; or netns:PATH, its network
namespace.`,
		Args: subcommandRequired,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		networkCreateCommand(), networkListCommand(), networkInspectCommand(), networkRemoveCommand(), networkPruneCommand(),
		networkConnectCommand(), networkDisconnectCommand(), networkCollectCommand(), networkReloadCommand(),
	)
	return cmd
}

// openCatalogue is the catalogue of this host; CNI_PATH and NETCONFPATH move
// its parts, as they do for the CNI project's cnitool, and BERTH_POOLS says
// where subnets are carved from.
func openCatalogue() (*network.Catalogue, error) {
	pools, err := pools()
	if err != nil {
		return nil, err
	}
	o := network.Options{Dir: os.Getenv("NETCONFPATH"), Containers: berthContainers{}, Pools: pools}
	if path := os.Getenv("CNI_PATH"); path != "" {
		o.Path = filepath.SplitList(path)
	}
	return network.Open(o)
}

// networkNames completes the names of networks.
func networkNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := openCatalogue()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	networks, _ := c.List()
	var names []cobra.Completion
	for _, n := range networks {
		names = append(names, cobra.CompletionWithDesc(n.Name, n.Driver))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// networkThenContainer completes NETWORK CONTAINER.
func networkThenContainer(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return networkNames(cmd, args, typed)
	case 1:
		names := []cobra.Completion{"pid:", "netns:"}
		all, _ := berthContainers{}.Containers(cmd.Context())
		for _, c := range all {
			names = append(names, c.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
