package network

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// driver is what Create knows of a driver.
type driver struct {
	addresses    bool // has an "ipam" object
	routed       bool // the host has an address in the subnet
	capabilities []string
	fill         func(CreateSpec, map[string]any) // what the plugin's object has without options
	options      []Option
}

// Option is a key of -o.
type Option struct {
	Name    string
	Aliases []string // Docker's names for it
	Help    string
	Default string // in words
	set     func(plugin map[string]any, value string) error
}

var onBridge = []string{"aliases", "bandwidth", "dns", "ips", "mac", "portMappings"}

var drivers = map[string]driver{
	"bridge":  {addresses: true, routed: true, capabilities: onBridge, fill: fillBridge, options: bridgeOptions},
	"host":    {capabilities: []string{"aliases"}},
	"macvlan": {addresses: true, capabilities: []string{"aliases", "dns", "ips", "mac"}, fill: fillMacvlan, options: macvlanOptions},
	"none":    {capabilities: []string{"aliases"}},
	"overlay": {addresses: true, routed: true, capabilities: onBridge, fill: fillOverlay, options: overlayOptions},
}

func fillBridge(s CreateSpec, plugin map[string]any) {
	plugin["bridge"] = bridgeName(s.Name)
	if s.Options["vlan"] != "" && checkIfName(bridgeName(s.Name)+longestVLAN) != nil {
		plugin["bridge"] = hashedBridgeName(s.Name)[:maxIfName-len(longestVLAN)]
	}
	plugin["hairpinMode"] = true
	// A DHCP server's gateway is a machine of the segment: the bridge must
	// not have its address, nor hide the containers from it.
	if s.IPAM != "dhcp" {
		plugin["isGateway"] = true
		plugin["ipMasq"] = !s.Internal
	}
	if s.Internal {
		plugin["internal"] = true
	}
}

func fillOverlay(s CreateSpec, plugin map[string]any) {
	plugin["ipMasq"] = !s.Internal
	if s.Internal {
		plugin["internal"] = true
	}
}

func fillMacvlan(s CreateSpec, plugin map[string]any) {
	plugin["mode"] = "bridge"
	if s.Internal {
		plugin["internal"] = true
	}
}

// bridgeName is br-NAME, or, where that is too long for a device, br- and
// twelve digits that stand for the name.
func bridgeName(network string) string {
	if name := "br-" + network; checkIfName(name) == nil {
		return name
	}
	return hashedBridgeName(network)
}

func hashedBridgeName(network string) string {
	return fmt.Sprintf("br-%x", sha256.Sum256([]byte(network)))[:maxIfName]
}

const (
	maxIfName   = 15      // IFNAMSIZ less the terminating zero
	longestVLAN = ".4094" // what a bridge's name needs room for besides
)

// onHost is what the host has of a network: its bridge or, where several are
// in VLANs of one bridge, its device there.
type onHost struct {
	Bridge string
	VLAN   int
}

func (o onHost) String() string {
	if o.VLAN == 0 {
		return "bridge " + o.Bridge
	}
	return fmt.Sprintf("VLAN %d of bridge %s", o.VLAN, o.Bridge)
}

// onHost is what the network will have; zero: nothing of the kind.
func (s CreateSpec) onHost() (o onHost) {
	list, err := s.conflist()
	if err != nil {
		return o
	}
	raw, err := json.Marshal(list.Plugins[0])
	if err != nil || json.Unmarshal(raw, &o) != nil {
		return onHost{}
	}
	return o
}

func onHostOf(n *Network) (o onHost) {
	if len(n.chain.Plugins) == 0 || json.Unmarshal(n.chain.Plugins[0], &o) != nil {
		return onHost{}
	}
	return o
}

var mtuOption = Option{
	Name: "mtu", Aliases: []string{"com.docker.network.driver.mtu"}, Help: "MTU of the containers' interfaces",
	Default: "the underlying device's", set: number("mtu", 68, 65535),
}

var ifnameOption = Option{
	Name: "ifname-prefix", Aliases: []string{"com.docker.network.container_iface_prefix"},
	Help: "beginning of the interfaces' names in the containers", Default: "eth",
	set: func(_ map[string]any, v string) error { return checkIfName(v + "0") },
}

var namesOption = Option{
	Name: "names", Help: "the agent serves names in the network's containers of other runtimes", Default: "true", set: boolean("names"),
}

var masqueradeOption = Option{
	Name: "masquerade", Aliases: []string{"com.docker.network.bridge.enable_ip_masquerade"},
	Help: "hide the containers behind the host's address on the way out", Default: "true", set: boolean("ipMasq"),
}

var bridgeOptions = []Option{
	{Name: "bridge", Aliases: []string{"com.docker.network.bridge.name"}, Help: "name of the bridge", Default: "br-NAME", set: device("bridge")},
	{Name: "icc", Aliases: []string{"com.docker.network.bridge.enable_icc"}, Help: "containers of the network may reach each other",
		Default: "true", set: boolean("icc")},
	masqueradeOption,
	mtuOption,
	{Name: "hairpin", Help: "a container reaches its own published ports", Default: "true", set: boolean("hairpinMode")},
	{Name: "macspoofchk", Help: "drop frames with an address that is not the container's", Default: "false", set: boolean("macspoofchk")},
	{Name: "isolate", Help: "other networks reach it by published ports only", Default: "true", set: boolean("isolate")},
	{Name: "bind-address", Aliases: []string{"com.docker.network.bridge.host_binding_ipv4"},
		Help: "host address that ports are published on which name none", Default: "all", set: addresses("bindAddress")},
	{Name: "strict-publish", Help: "the host's INPUT rules decide who reaches published ports", Default: "false", set: boolean("strictPublish")},
	{Name: "firewall-backend", Help: "nftables or iptables", Default: "what the kernel has", set: oneOf("firewallBackend", "nftables", "iptables")},
	{Name: "vlan", Help: "VLAN of the containers' ports on the bridge", Default: "none", set: number("vlan", 1, 4094)},
	namesOption,
	ifnameOption,
}

var macvlanOptions = []Option{
	{Name: "parent", Aliases: []string{"master"}, Help: "device of the host, or DEVICE.VLAN", Default: "that of the default route", set: device("master")},
	{Name: "mode", Aliases: []string{"macvlan_mode"}, Help: "bridge, private, vepa or passthru", Default: "bridge",
		set: oneOf("mode", "bridge", "private", "vepa", "passthru")},
	mtuOption,
	{Name: "bcqueuelen", Help: "length of the parent's broadcast queue", Default: "the kernel's", set: number("bcqueuelen", 1, 1<<31)},
	namesOption,
	ifnameOption,
}

var overlayOptions = []Option{
	{Name: "peers", Help: "underlay addresses of the other hosts, separated by commas: no agent is needed", Default: "from the cluster", set: addresses("peers")},
	{Name: "vni", Aliases: []string{"com.docker.network.driver.overlay.vxlanid_list"}, Help: "VXLAN network identifier", Default: "from the cluster",
		set: number("vni", 1, 1<<24-1)},
	{Name: "port", Help: "UDP port of the VXLAN", Default: "4789", set: number("port", 1, 65535)},
	{Name: "underlay", Help: "device towards the peers", Default: "that of the route to them", set: device("underlay")},
	{Name: "local", Help: "this host's underlay address", Default: "that of the route to the peers", set: address("local")},
	{Name: "control-plane", Help: "static, etcd or evpn", Default: "static with peers, else etcd", set: oneOf("controlPlane", "static", "etcd", "evpn")},
	{Name: "evpn-ipv6", Help: "with evpn: the BGP daemon takes IPv6 VTEPs, as FRR does from 10.6 on", Default: "false", set: flag("evpnIPv6")},
	{Name: "checksum-offload", Help: "on, off, or auto: off where the agent finds that the network card sends broken checksums", Default: "auto with etcd, else on",
		set: oneOf("checksumOffload", "on", "off", "auto")},
	{Name: "encrypted", Help: "send through WireGuard only", Default: "false", set: flag("encrypted")},
	masqueradeOption,
	mtuOption,
	namesOption,
	ifnameOption,
}

// DriverNames lists the drivers that Create knows.
func DriverNames() []string { return slices.Sorted(maps.Keys(drivers)) }

// DriverOptions lists the keys of -o for a driver.
func DriverOptions(name string) []Option { return drivers[name].options }

// applyOptions writes options into the plugin's object.
func applyOptions(driver string, options map[string]string, plugin map[string]any) error {
	given := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		o := findOption(driver, key)
		if o == nil {
			return fmt.Errorf("option %q: %w: driver %s has %s", key, ErrInvalid, driver, optionNames(driver))
		}
		if other, twice := given[o.Name]; twice {
			return fmt.Errorf("option %q: %w: it is the same as %q", key, ErrInvalid, other)
		}
		given[o.Name] = key
		if err := o.set(plugin, options[key]); err != nil {
			return fmt.Errorf("option %s=%q: %w", key, options[key], err)
		}
	}
	return nil
}

func findOption(driver, key string) *Option {
	for _, o := range drivers[driver].options {
		if o.Name == key || slices.Contains(o.Aliases, key) {
			return &o
		}
	}
	return nil
}

func optionNames(driver string) string {
	var names []string
	for _, o := range drivers[driver].options {
		names = append(names, o.Name)
	}
	if len(names) == 0 {
		return "no options"
	}
	return strings.Join(names, ", ")
}

type setter = func(map[string]any, string) error

func boolean(key string) setter {
	return func(plugin map[string]any, value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%w: use true or false", ErrInvalid)
		}
		plugin[key] = b
		return nil
	}
}

// flag is a boolean for which nothing, as in Docker's "-o encrypted", is true.
func flag(key string) setter {
	set := boolean(key)
	return func(plugin map[string]any, value string) error {
		if value == "" {
			value = "true"
		}
		return set(plugin, value)
	}
}

func number(key string, least, most uint64) setter {
	return func(plugin map[string]any, value string) error {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%w: use a number from %d to %d", ErrInvalid, least, most)
		}
		plugin[key] = n
		return nil
	}
}

func oneOf(key string, values ...string) setter {
	return func(plugin map[string]any, value string) error {
		if !slices.Contains(values, value) {
			return fmt.Errorf("%w: use one of %s", ErrInvalid, strings.Join(values, ", "))
		}
		plugin[key] = value
		return nil
	}
}

func device(key string) setter {
	return func(plugin map[string]any, value string) error {
		if err := checkIfName(value); err != nil {
			return err
		}
		plugin[key] = value
		return nil
	}
}

func address(key string) setter {
	return func(plugin map[string]any, value string) error {
		a, err := netip.ParseAddr(value)
		if err != nil {
			return fmt.Errorf("%w: use an IP address", ErrInvalid)
		}
		plugin[key] = a
		return nil
	}
}

func addresses(key string) setter {
	return func(plugin map[string]any, value string) error {
		var list []netip.Addr
		for s := range strings.SplitSeq(value, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(s))
			if err != nil {
				return fmt.Errorf("%w: use IP addresses separated by commas", ErrInvalid)
			}
			list = append(list, a)
		}
		plugin[key] = list
		return nil
	}
}
