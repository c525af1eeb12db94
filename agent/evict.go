package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
)

// A container whose address another host has got is evicted: its device is
// taken down and the cluster is not told of it, because two with one address
// are worse than one with none. Its record and the host's part of the network
// stay, and should the address become free before the container ends, it is
// let back.

// evictionOf is what the operator is told of a container and why it is
// evicted.
func evictionOf(r *endpoint.Record, why error) error {
	return fmt.Errorf("container %s is off network %s, because its address is another host's by now; restart it to give it another: %w", r.ContainerID, r.Network, why)
}

// evict notes the evicted containers, and tells of those that were not before.
func (a *Agent) evict(before, now map[endpoint.Key]error) {
	var fresh []error
	for key, err := range now {
		if before[key] == nil {
			fresh = append(fresh, err)
		}
	}
	a.telling.Lock()
	maps.DeleteFunc(now, func(key endpoint.Key, _ error) bool {
		return before[key] != nil && a.evicted[key] == nil // it got another address meanwhile, or ended
	})
	a.evicted = now
	a.telling.Unlock()
	a.metrics.evicted.Set(float64(len(now)))
	a.trouble("keep addresses", errors.Join(fresh...))
}

// evictions are what the operator should know of the evicted containers.
func (a *Agent) evictions() (list []string) {
	a.telling.Lock()
	defer a.telling.Unlock()
	for _, err := range a.evicted {
		list = append(list, err.Error())
	}
	slices.Sort(list)
	return list
}

// unplug takes the host's end of a container's pair down.
func (a *Agent) unplug(r *endpoint.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.takeDown(r.HostIfName)
}

// plug brings it up again.
func (a *Agent) plug(r *endpoint.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	link, err := a.dev.Link(r.HostIfName)
	if errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return a.dev.SetUp(link)
}
