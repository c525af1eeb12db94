package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// shareNetwork makes a network that has just been created here exist on all
// hosts of the cluster. Without an agent it does so at its first use.
func shareNetwork(cmd *cobra.Command, c *network.Catalogue, n *network.Network) error {
	plugin := n.ClusterPlugin()
	if plugin == nil {
		return nil
	}
	store, err := state.Default()
	if err != nil {
		return err
	}
	_, err = api.Call(cmd.Context(), store, api.Request{CreateNetwork: &api.CreateNetwork{Name: n.Name, Config: plugin, List: n.Config, Labels: n.Labels}})
	if errors.Is(err, api.ErrNoAgent) {
		cmd.PrintErrf("berth: network %s: %v; until one runs with --etcd no container can be connected, and the first one that is tells the other hosts of the network\n", n.Name, err)
		return nil
	}
	if err != nil {
		return errors.Join(err, c.Remove(cmd.Context(), n.Name))
	}
	return nil
}

// removeNetwork removes a network here, and everywhere where it is the
// cluster's: no host may have an endpoint on it then.
func removeNetwork(cmd *cobra.Command, c *network.Catalogue, name string) error {
	n, err := c.Get(name)
	if err != nil || n.ClusterPlugin() == nil {
		return c.Remove(cmd.Context(), name)
	}
	store, err := state.Default()
	if err != nil {
		return err
	}
	_, err = api.Call(cmd.Context(), store, api.Request{RemoveNetwork: &api.NetworkName{Name: n.Name}})
	if isCode(err, api.CodeInUse) {
		return &inUseError{err}
	}
	// A network that the cluster was never told of can be removed without it.
	if err != nil && (c.FromCluster(n.Name) || !isCode(err, plugins.CodeTryAgain)) {
		return err
	}
	gone := err == nil
	err = c.Remove(cmd.Context(), name)
	if gone && errors.Is(err, network.ErrNoNetwork) {
		return nil // the agent took the file away first
	}
	return err
}

// inUseError is network.ErrInUse as the agent said it.
type inUseError struct{ error }

func (*inUseError) Is(target error) bool { return target == network.ErrInUse }

func isCode(err error, code plugins.Code) bool {
	var coded *plugins.Error
	return errors.As(err, &coded) && coded.Code == code
}

// inspectNetwork is the host's view of a network and, where it is the
// cluster's, that of all hosts. Without an agent the host's own is better
// than nothing.
func inspectNetwork(cmd *cobra.Command, c *network.Catalogue, name string) (*network.Inspection, error) {
	i, err := c.Inspect(name)
	if err != nil {
		return nil, err
	}
	n, err := c.Get(i.Name)
	if err != nil || n.ClusterPlugin() == nil {
		return i, err
	}
	store, err := state.Default()
	if err != nil {
		return nil, err
	}
	answer, err := api.Call(cmd.Context(), store, api.Request{Inspect: &api.NetworkName{Name: i.Name}})
	if err != nil {
		cmd.PrintErrf("berth: %v; shown is what this host alone knows\n", err)
		return i, nil
	}
	i.AddCluster(answer.Network)
	return i, nil
}

// describeCluster lists the endpoints of all hosts, and the hosts.
func describeCluster(w io.Writer, n *network.Inspection) {
	if n.Cluster == nil {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	if len(n.Cluster.Endpoints) > 0 {
		fmt.Fprintln(tw, "\nIN THE CLUSTER\tID\tHOST\tADDRESSES\tMAC")
	}
	for _, e := range n.Cluster.Endpoints {
		var addrs []string
		for _, a := range e.Addresses {
			addrs = append(addrs, a.String())
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", dash(e.Name), e.ContainerID[:min(20, len(e.ContainerID))], e.Host,
			dash(strings.Join(addrs, ", ")), e.MacAddress)
	}
	tw.Flush()
	if len(n.Peers) > 0 {
		fmt.Fprintln(tw, "\nPEER\tADDRESS\tENDPOINTS")
	}
	for _, p := range n.Peers {
		fmt.Fprintf(tw, "%s\t%s\t%d\n", p.Name, p.IP, p.Endpoints)
	}
	tw.Flush()
}
