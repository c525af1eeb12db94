package dhcp

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
)

// config is the plugin's keys; README.md says what each means.
type config struct {
	Socket   string          `json:"daemonSocketPath"`
	IPv4     *bool           `json:"ipv4"`
	IPv6     bool            `json:"ipv6"`
	Routes   []route         `json:"routes"`
	Provide  []provideOption `json:"provide"`
	Request  []requestOption `json:"request"`
	Priority int             `json:"priority"`
}

type route struct {
	Dst netip.Prefix `json:"dst"`
	GW  netip.Addr   `json:"gw"`
}

// provideOption is an option of DHCPv4 that is sent: a value, or that of a
// key of CNI_ARGS.
type provideOption struct {
	Option  string `json:"option"`
	Value   string `json:"value"`
	FromArg string `json:"fromArg"`
}

// requestOption is an option of DHCPv4 that the server is asked for.
type requestOption struct {
	Option string `json:"option"`
}

func parse(raw []byte) (config, error) {
	var c struct {
		IPAM config `json:"ipam"`
	}
	if err := coldjson.Unmarshal(raw, &c); err != nil {
		return c.IPAM, plugins.Errorf(plugins.CodeDecode, "decode ipam: %w", err)
	}
	if c.IPAM.Socket == "" {
		c.IPAM.Socket = DefaultSocket
	}
	if err := c.IPAM.validate(); err != nil {
		return c.IPAM, plugins.Errorf(plugins.CodeInvalidConfig, "ipam.%w", err)
	}
	return c.IPAM, nil
}

func (c *config) validate() error {
	for i, r := range c.Routes {
		if !r.Dst.IsValid() {
			return fmt.Errorf("routes[%d].dst: it is missing", i)
		}
		if r.GW.IsValid() && r.GW.Is4() != r.Dst.Addr().Is4() {
			return fmt.Errorf("routes[%d].gw: %s is not of the family of %s", i, r.GW, r.Dst)
		}
	}
	for i, o := range c.Provide {
		if _, err := optionCode(o.Option); err != nil {
			return fmt.Errorf("provide[%d].option: %w", i, err)
		}
		if len(o.Value) > maxOption {
			return fmt.Errorf("provide[%d].value: it is longer than %d bytes", i, maxOption)
		}
	}
	for i, o := range c.Request {
		if _, err := optionCode(o.Option); err != nil && o.Option != "" {
			return fmt.Errorf("request[%d].option: %w", i, err)
		}
	}
	if c.Priority < 0 {
		return fmt.Errorf("priority: %d is negative", c.Priority)
	}
	if !c.wants4() && !c.IPv6 {
		return fmt.Errorf("ipv4 and ipv6 are both false; there is nothing to ask for")
	}
	return nil
}

func (c *config) wants4() bool { return c.IPv4 == nil || *c.IPv4 }

// maxOption is how long an option's value can be (RFC 2132 section 2).
const maxOption = 255

// optionNames are those that the CNI project's plugin knows.
var optionNames = map[string]uint8{
	"subnet-mask": 1, "routers": 3, "host-name": 12, "vendor-class-identifier": 60, "dhcp-client-identifier": 61, "user-class": 77,
}

func optionCode(name string) (uint8, error) {
	if code, ok := optionNames[name]; ok {
		return code, nil
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil || n == 0 || n == 255 { // padding and end
		return 0, fmt.Errorf("%q is neither a number from 1 to 254 nor a name such as host-name", name)
	}
	return uint8(n), nil
}

// provided are the options to send, by their numbers. An argument that the
// caller did not give is left out.
func (c *config) provided(args map[string]string) (map[uint8]string, error) {
	options := map[uint8]string{}
	for i, o := range c.Provide {
		code, _ := optionCode(o.Option)
		if o.Value != "" {
			options[code] = o.Value
		}
		value, ok := args[o.FromArg]
		if len(value) > maxOption {
			return nil, plugins.Errorf(plugins.CodeInvalidEnvironment, "ipam.provide[%d]: CNI_ARGS: %s is longer than %d bytes", i, o.FromArg, maxOption)
		}
		if ok && value != "" {
			options[code] = value
		}
	}
	return options, nil
}

func (c *config) requested() (codes []uint8) {
	for _, o := range c.Request {
		if code, err := optionCode(o.Option); err == nil {
			codes = append(codes, code)
		}
	}
	return codes
}
