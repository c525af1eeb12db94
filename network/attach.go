package network

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
)

// Endpoint is one attachment to be made.
type Endpoint struct {
	ContainerID string
	Name        string       // of the container, for names and reservations
	NetNS       string       // path
	IfName      string       // empty: the next free ethN of the container
	IPs         []netip.Addr // at most one of each family; none: from the ranges
	MAC         net.HardwareAddr
	Aliases     []string
	Ports       []plugins.PortMapping
	Bandwidth   *plugins.Bandwidth

	// GwPriority chooses among the container's networks the one that has its
	// default route: the highest, and of equals the first by name.
	GwPriority int
}

// Attached is an attachment that stands.
type Attached struct {
	endpoint.Key
	Result *plugins.Result
}

// Attach connects a container to a network. Everything is validated before
// anything is touched, and a failure leaves nothing behind. Errors:
// ErrNoNetwork, ErrAttached, ErrInvalid, and what the drivers return.
func (c *Catalogue) Attach(ctx context.Context, network string, ep Endpoint) (*Attached, error) {
	return nil, errors.ErrUnsupported
}

// Detach ends one attachment, also when the container, its namespace or the
// network's file is gone. One that is not there is success.
func (c *Catalogue) Detach(ctx context.Context, key endpoint.Key) error {
	return errors.ErrUnsupported
}

// DetachAll ends every attachment of a container, the last made first.
func (c *Catalogue) DetachAll(ctx context.Context, containerID string) error {
	return errors.ErrUnsupported
}
