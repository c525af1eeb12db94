package macvlan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// config is the driver's own keys of a network's configuration; README.md
// says what each means.
type config struct {
	Master          string             `json:"master"`
	Mode            netdev.MacvlanMode `json:"mode"`
	MTU             int                `json:"mtu"`
	MAC             string             `json:"mac"`
	LinkInContainer bool               `json:"linkInContainer"`
	BCQueueLen      uint32             `json:"bcqueuelen"`
	Internal        bool               `json:"internal"`
	HostAccess      bool               `json:"hostAccess"`
	IPAM            json.RawMessage    `json:"ipam"`
	DNS             plugins.DNS        `json:"dns"`
}

// parse decodes and validates what can be validated without looking at the
// host. Its errors name the key and carry CodeInvalidConfig.
func parse(raw []byte) (*config, error) {
	c := new(config)
	if err := coldjson.Unmarshal(raw, c); err != nil {
		return nil, plugins.Errorf(plugins.CodeDecode, "decode macvlan configuration: %w", err)
	}
	if c.Mode == "" {
		c.Mode = netdev.MacvlanBridge
	}
	if err := c.validate(); err != nil {
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "macvlan configuration: %w", err)
	}
	layer2, err := withoutIPAM(c.IPAM)
	if layer2 {
		c.IPAM = nil
	}
	return c, err
}

func (c *config) validate() error {
	if c.Master != "" {
		if why := netdev.NameProblem(c.Master); why != "" {
			return fmt.Errorf("master: %q %s", c.Master, why)
		}
	}
	if !c.Mode.Valid() {
		return fmt.Errorf("mode: %q is none of bridge, private, vepa and passthru", c.Mode)
	}
	if c.MTU < 0 {
		return fmt.Errorf("mtu: %d is negative", c.MTU)
	}
	if _, err := parseMAC(c.MAC); err != nil {
		return fmt.Errorf("mac: %w", err)
	}
	return c.validateTogether()
}

// validateTogether refuses keys that contradict each other.
func (c *config) validateTogether() error {
	switch {
	case c.HostAccess && c.Mode != netdev.MacvlanBridge:
		return fmt.Errorf("hostAccess: it needs mode bridge: in mode %s the host's device would not hear the containers", c.Mode)
	case c.HostAccess && c.LinkInContainer:
		return errors.New("hostAccess: the parent is in the container (linkInContainer), where the host has no device")
	case c.HostAccess && c.Internal:
		return errors.New("hostAccess: an internal network has no way to the host")
	case c.Internal && c.Master != "":
		return fmt.Errorf("internal: the network would leave through master %s; give no master to get an isolated one", c.Master)
	case c.Internal && c.LinkInContainer:
		return errors.New("internal: the isolated parent is on the host, and linkInContainer wants one in the container")
	case c.Internal && c.Mode != netdev.MacvlanBridge:
		return fmt.Errorf("internal: in mode %s the containers would not reach each other either; use mode bridge", c.Mode)
	}
	return nil
}

// withoutIPAM tells whether the network leaves addresses to the container.
func withoutIPAM(raw json.RawMessage) (bool, error) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return true, nil
	}
	var kind struct {
		Type string `json:"type"`
	}
	if err := coldjson.Unmarshal(raw, &kind); err != nil {
		return false, plugins.Errorf(plugins.CodeDecode, "decode ipam: %w", err)
	}
	return kind.Type == "", nil
}

// parseMAC reads a unicast Ethernet address; empty is none.
func parseMAC(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 || bytes.Equal(mac, make([]byte, 6)) {
		return nil, fmt.Errorf("%q is not a unicast address such as 02:00:00:00:00:01", s)
	}
	return mac, nil
}

// mac is the hardware address for a request: the asked for, or else one that
// is always the same. A passthru device has its parent's unless asked.
func (c *config) mac(req *plugins.Request) (net.HardwareAddr, error) {
	if mac := req.MAC(); mac != nil {
		return mac, nil
	}
	if mac, err := parseMAC(c.MAC); mac != nil || err != nil {
		return mac, err
	}
	if c.Mode == netdev.MacvlanPassthru {
		return nil, nil
	}
	return netdev.StableMAC(req.Name, req.ContainerID, req.IfName)
}
