package attach

import (
	"context"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// NoDevice refuses what only an interface of the container's own can have, for
// drivers that make none. To ignore it would let a caller believe that the
// container has the address that was asked for.
func NoDevice(req *plugins.Request) error {
	var conf struct {
		IPAM struct {
			Type string `json:"type"`
		} `json:"ipam"`
	}
	if err := coldjson.Unmarshal(req.Config, &conf); err != nil {
		return plugins.Errorf(plugins.CodeDecode, "configuration: %w", err)
	}
	what := ""
	switch {
	case conf.IPAM.Type != "":
		what = "ipam: addresses"
	case len(req.Runtime.IPs)+len(req.Args.IPs) > 0:
		what = "ips: addresses"
	case req.MAC() != nil:
		what = "mac: a MAC address"
	case req.Runtime.Bandwidth != nil:
		what = "bandwidth: a limit"
	default:
		return nil
	}
	return plugins.Errorf(plugins.CodeInvalidConfig,
		"%s cannot be given: network %s is of type %s, which makes no interface for the container", what, req.Name, req.Type)
}

// EndNoDevice is the Del of such drivers: they have nothing in the kernel to
// tear down, and an IPAM plugin that the configuration names, which made Add
// fail, was never asked for anything.
func EndNoDevice(ctx context.Context, store *state.Store, req *plugins.Request) error {
	plain := *req
	plain.Config = []byte(`{}`)
	return End(ctx, store, &plain, func(*endpoint.Record) error { return nil })
}
