// Package table says which driver serves which name, written out.
package table

import (
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
	"github.com/berth-net/berth/plugins/dhcp"
	"github.com/berth-net/berth/plugins/host"
	"github.com/berth-net/berth/plugins/ipam"
	"github.com/berth-net/berth/plugins/loopback"
	"github.com/berth-net/berth/plugins/macvlan"
	"github.com/berth-net/berth/plugins/none"
	"github.com/berth-net/berth/plugins/overlay"
	"github.com/berth-net/berth/state"
)

// Lookup is the driver for a configuration's "type", or nil.
func Lookup(name string, store *state.Store) plugins.Driver {
	switch name {
	case "bridge":
		return bridge.New(store)
	case "host":
		return host.New(store)
	case "macvlan":
		return macvlan.New(store)
	case "none":
		return none.New(store)
	case "overlay":
		return overlay.New(store)
	case "loopback":
		return loopback.New(store)
	case "berth-ipam", "host-local": // the second where it stands in for upstream's
		return ipam.New(store)
	case "dhcp":
		return dhcp.New()
	}
	return nil
}
