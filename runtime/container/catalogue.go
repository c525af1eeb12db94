package container

import (
	"context"

	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/plugins"
)

// Networks attaches containers to the networks of a catalogue.
type Networks struct{ Catalogue *network.Catalogue }

// Attach implements Networker.
func (n Networks) Attach(ctx context.Context, a Attachment) (*Endpoint, error) {
	attached, err := n.Catalogue.Attach(ctx, a.Name, network.Endpoint{
		ContainerID: a.ContainerID, Name: a.ContainerName, NetNS: a.NetNS, IfName: a.IfName,
		IPs: a.IPs, MAC: a.MAC, Aliases: a.Aliases, Ports: a.Ports, DNS: a.DNS,
	})
	if err != nil {
		return nil, err
	}
	return endpointOf(attached.Network, attached.IfName, attached.Result), nil
}

// DetachAll implements Networker.
func (n Networks) DetachAll(ctx context.Context, containerID string) error {
	return n.Catalogue.DetachAll(ctx, containerID)
}

func endpointOf(networkName, ifname string, result *plugins.Result) *Endpoint {
	e := &Endpoint{Network: networkName, IfName: ifname}
	if result == nil {
		return e
	}
	e.DNS, e.Warnings = result.DNS, result.Warnings
	for _, i := range result.Interfaces {
		if i.Sandbox != "" && i.Name == ifname {
			e.MAC = i.MAC.String()
		}
	}
	for _, ip := range result.IPs {
		e.Addresses = append(e.Addresses, ip.Address)
		if ip.Gateway.IsValid() {
			e.Gateways = append(e.Gateways, ip.Gateway)
		}
	}
	return e
}
