package main

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/plugins/overlay"
	"github.com/berth-net/berth/state"
)

// clusterPlugin is the plugin object of an overlay that is the cluster's, nil
// for any other network.
func clusterPlugin(n *network.Network) json.RawMessage {
	var list struct {
		Plugins []json.RawMessage `json:"plugins"`
	}
	if n.Driver != "overlay" || json.Unmarshal(n.Config, &list) != nil || len(list.Plugins) == 0 || !overlay.OfCluster(list.Plugins[0]) {
		return nil
	}
	return list.Plugins[0]
}

// shareNetwork makes a network that has just been created here exist on all
// hosts of the cluster. Without an agent it does so at its first use.
func shareNetwork(cmd *cobra.Command, c *network.Catalogue, n *network.Network) error {
	plugin := clusterPlugin(n)
	if plugin == nil {
		return nil
	}
	store, err := state.Default()
	if err != nil {
		return err
	}
	_, err = api.Call(cmd.Context(), store, api.Request{CreateNetwork: &api.CreateNetwork{Name: n.Name, Config: plugin, List: n.Config, Labels: n.Labels}})
	if errors.Is(err, api.ErrNoAgent) {
		cmd.PrintErrf("berth: network %s: %v; until one runs with --etcd no container can be connected\n", n.Name, err)
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
	if err != nil || clusterPlugin(n) == nil {
		return c.Remove(cmd.Context(), name)
	}
	store, err := state.Default()
	if err != nil {
		return err
	}
	_, err = api.Call(cmd.Context(), store, api.Request{RemoveNetwork: &api.NetworkName{Name: n.Name}})
	if err != nil && !errors.Is(err, api.ErrNoAgent) {
		return err
	}
	gone := err == nil
	err = c.Remove(cmd.Context(), name)
	if gone && errors.Is(err, network.ErrNoNetwork) {
		return nil // the agent took the file away first
	}
	return err
}
