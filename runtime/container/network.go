package container

import (
	"context"
	"net"
	"net/netip"

	"github.com/berth-net/berth/plugins"
)

// Modes of NetworkConfig.Mode.
const (
	ModeNetwork   = ""          // join the network Name
	ModeHost      = "host"      // share the host's network namespace
	ModeNone      = "none"      // loopback only
	ModeContainer = "container" // share the namespace of the container Name
)

// NetworkConfig is one --network of a container.
type NetworkConfig struct {
	Mode    string           `json:"mode,omitempty"`
	Name    string           `json:"name,omitempty"`
	IPs     []netip.Addr     `json:"ips,omitempty"`
	MAC     net.HardwareAddr `json:"mac,omitempty"`
	Aliases []string         `json:"aliases,omitempty"`
	IfName  string           `json:"ifname,omitempty"`
}

// Endpoint is an attachment that stands, as inspect shows it.
type Endpoint struct {
	Network   string         `json:"network"`
	IfName    string         `json:"ifname"`
	MAC       string         `json:"mac,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateways  []netip.Addr   `json:"gateways,omitempty"`
	DNS       plugins.DNS    `json:"dns,omitzero"`
	Warnings  []string       `json:"warnings,omitempty"` // of its ADD
}

// Attachment asks for one network of a container.
type Attachment struct {
	ContainerID, ContainerName string
	NetNS                      string // path
	NetworkConfig
	Ports []plugins.PortMapping
	DNS   *plugins.DNS // set for the container; nil: nothing
}

// Networker attaches containers to networks.
type Networker interface {
	Attach(ctx context.Context, a Attachment) (*Endpoint, error)

	// DetachAll ends every attachment of a container, past errors. None is
	// success.
	DetachAll(ctx context.Context, containerID string) error
}
