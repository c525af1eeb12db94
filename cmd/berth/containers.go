package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/runtime/container"
)

// berthContainers shows the runtime's containers to the catalogue.
type berthContainers struct{}

func (berthContainers) Container(_ context.Context, ref string) (network.Container, error) {
	store, err := container.Open()
	if err != nil {
		return network.Container{}, err
	}
	c, err := store.Get(ref)
	if errors.Is(err, container.ErrNotFound) {
		return network.Container{}, fmt.Errorf("container %q: %w", ref, network.ErrNoContainer)
	}
	if err != nil {
		return network.Container{}, err
	}
	return describeContainer(c)
}

func (berthContainers) Containers(context.Context) ([]network.Container, error) {
	store, err := container.Open()
	if err != nil {
		return nil, err
	}
	list, err := store.List()
	if err != nil {
		return nil, err
	}
	var all []network.Container
	for _, c := range list {
		described, err := describeContainer(c)
		if err != nil {
			return nil, err
		}
		all = append(all, described)
	}
	return all, nil
}

func describeContainer(c *container.Container) (network.Container, error) {
	st, err := c.State()
	if err != nil {
		return network.Container{}, err
	}
	described := network.Container{ID: c.ID, Name: c.Name}
	if c.Hostname != c.ShortID() && c.Hostname != c.Name {
		described.Hostname = c.Hostname
	}
	if st.Status == container.Running {
		described.NetNS = st.NetNS
	}
	for _, n := range c.Networks {
		if n.Mode == container.ModeNetwork {
			described.Networks = append(described.Networks, n.Name)
		}
	}
	return described, nil
}
