package bridge

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// Config is the plugin's object in a network's configuration. The keys down
// to Args are those of the upstream plugin of the same name, v1.9.1; README.md
// says what each does.
type Config struct {
	Bridge                    string          `json:"bridge"`
	IsGateway                 bool            `json:"isGateway"`
	IsDefaultGateway          bool            `json:"isDefaultGateway"`
	ForceAddress              bool            `json:"forceAddress"`
	IPMasq                    bool            `json:"ipMasq"`
	IPMasqBackend             string          `json:"ipMasqBackend"`
	MTU                       int             `json:"mtu"`
	HairpinMode               bool            `json:"hairpinMode"`
	PromiscMode               bool            `json:"promiscMode"`
	VLAN                      int             `json:"vlan"`
	VLANTrunk                 []VLANTrunk     `json:"vlanTrunk"`
	PreserveDefaultVLAN       *bool           `json:"preserveDefaultVlan"`
	MACSpoofCheck             bool            `json:"macspoofchk"`
	EnableDAD                 bool            `json:"enabledad"`
	DisableContainerInterface bool            `json:"disableContainerInterface"`
	PortIsolation             bool            `json:"portIsolation"`
	IPAM                      json.RawMessage `json:"ipam"`
	DNS                       plugins.DNS     `json:"dns"`

	// Ours.
	Internal        bool         `json:"internal"`        // no way out
	Isolate         *bool        `json:"isolate"`         // from other networks; default true
	ICC             *bool        `json:"icc"`             // traffic among the containers; default true
	BindAddress     []netip.Addr `json:"bindAddress"`     // where ports go that name no address
	StrictPublish   bool         `json:"strictPublish"`   // INPUT rules decide who reaches ports
	FirewallBackend string       `json:"firewallBackend"` // "nftables", "iptables"; default by ipMasqBackend

	ipam bool // there is an IPAM plugin
}

// defaultBridge is upstream's.
const defaultBridge = "cni0"

// parse decodes and validates everything before anything is touched.
func parse(raw []byte) (*Config, error) {
	c := &Config{Bridge: defaultBridge}
	if err := coldjson.Unmarshal(raw, c); err != nil {
		return nil, plugins.Errorf(plugins.CodeDecode, "decode bridge configuration: %w", err)
	}
	if err := c.validate(); err != nil {
		return nil, &plugins.Error{Code: plugins.CodeInvalidConfig, Err: err}
	}
	return c, nil
}

func (c *Config) validate() error {
	if c.Bridge == "" {
		c.Bridge = defaultBridge
	}
	if problem := netdev.NameProblem(c.Bridge); problem != "" {
		return fmt.Errorf("bridge: %q %s", c.Bridge, problem)
	}
	c.IsGateway = c.IsGateway || c.IsDefaultGateway
	var ipam struct {
		Type string `json:"type"`
	}
	if len(c.IPAM) > 0 {
		if err := coldjson.Unmarshal(c.IPAM, &ipam); err != nil {
			return fmt.Errorf("ipam: %w", err)
		}
	}
	c.ipam = ipam.Type != ""
	switch {
	case c.MTU < 0 || c.MTU > maxMTU:
		return fmt.Errorf("mtu: %d is not between 0 and %d", c.MTU, maxMTU)
	case c.HairpinMode && c.PromiscMode:
		return fmt.Errorf("hairpinMode and promiscMode: a bridge can't have both, frames would come twice")
	case c.DisableContainerInterface && c.ipam:
		return fmt.Errorf("disableContainerInterface: an interface that is down can't have addresses; leave ipam away")
	case !slices.Contains([]string{"", "iptables", "nftables"}, c.IPMasqBackend):
		return fmt.Errorf("ipMasqBackend: %q is neither nftables nor iptables", c.IPMasqBackend)
	case !slices.Contains([]string{"", "iptables", "nftables"}, c.FirewallBackend):
		return fmt.Errorf("firewallBackend: %q is neither nftables nor iptables", c.FirewallBackend)
	}
	return c.validateVLANs()
}

// maxMTU is ETH_MAX_MTU.
const maxMTU = 65535

// segment is what containers hear each other on.
func (c *Config) segment() string { return fmt.Sprintf("%s vlan %d", c.Bridge, c.VLAN) }

func (c *Config) isolated() bool { return c.Isolate == nil || *c.Isolate }
func (c *Config) noICC() bool    { return c.ICC != nil && !*c.ICC }

// backend is the firewall's, "" for the best that the kernel has.
func (c *Config) backend() string {
	if c.FirewallBackend != "" {
		return c.FirewallBackend
	}
	return c.IPMasqBackend
}

// ports are the mappings with the addresses that the network binds them to
// where they name none.
func (c *Config) ports(asked []plugins.PortMapping) []plugins.PortMapping {
	if len(c.BindAddress) == 0 {
		return asked
	}
	var out []plugins.PortMapping
	for _, m := range asked {
		if m.HostIP.IsValid() {
			out = append(out, m)
			continue
		}
		for _, a := range c.BindAddress {
			m.HostIP = a
			out = append(out, m)
		}
	}
	return out
}
