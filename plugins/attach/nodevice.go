package attach

import (
	"encoding/json"

	"github.com/berth-net/berth/plugins"
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
	if err := json.Unmarshal(req.Config, &conf); err != nil {
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
