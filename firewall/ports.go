package firewall

import (
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// ErrPortTaken says that another endpoint owns a host port.
var ErrPortTaken = errors.New("host port is taken")

// ClaimPorts records that the endpoint owns the host ports, or fails with
// ErrPortTaken and names the owner, and then claims none.
func ClaimPorts(tx *state.Tx, key endpoint.Key, ports []plugins.PortMapping) error {
	if len(ports) == 0 {
		return nil
	}
	return errors.ErrUnsupported
}

// ReleasePorts gives up every host port of the endpoint. None is success.
func ReleasePorts(tx *state.Tx, key endpoint.Key) error { return nil }
