package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/cniresult"
	"github.com/berth-net/berth/plugins/table"
)

// owner is what records say of who attached.
const owner = "berth"

// link is one plugin of a chain: its JSON object, and what the catalogue
// reads in it.
type link struct {
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities"`
	raw          json.RawMessage
}

func (c chain) links() ([]link, error) {
	links := make([]link, len(c.Plugins))
	for i, raw := range c.Plugins {
		if err := json.Unmarshal(raw, &links[i]); err != nil {
			return nil, fmt.Errorf("network %s: plugins[%d]: %w: %w", c.Name, i, ErrInvalid, err)
		}
		links[i].raw = raw
	}
	return links, nil
}

// driver is the type of the first plugin, which makes the interface.
func (c chain) driver() string {
	links, err := c.links()
	if err != nil || len(links) == 0 {
		return ""
	}
	return links[0].Type
}

// ours are the drivers of this repository that keep a record of their own.
// They run in-process also for a conflist that somebody else wrote: they take
// every key of the upstream plugin of their name.
var ours = []string{"bridge", "host", "macvlan", "none", "overlay"}

func (l link) ours() bool { return slices.Contains(ours, l.Type) }

func (c chain) keepsRecord() bool {
	links, err := c.links()
	return err == nil && slices.ContainsFunc(links, link.ours)
}

// can tells whether a plugin of the chain declares the capability.
func (c chain) can(capability string) bool {
	links, err := c.links()
	return err == nil && slices.ContainsFunc(links, func(l link) bool { return l.Capabilities[capability] })
}

// add runs every plugin's ADD, each with the result of the one before. On an
// error the caller runs del.
func (c *Catalogue) add(ctx context.Context, a *attachment) (*plugins.Result, error) {
	links, err := a.Chain.links()
	if err != nil {
		return nil, err
	}
	var result *plugins.Result
	for _, l := range links {
		if result, err = c.addLink(ctx, a, l, result); err != nil {
			return nil, fmt.Errorf("plugin %s: %w", l.Type, err)
		}
	}
	return result, nil
}

func (c *Catalogue) addLink(ctx context.Context, a *attachment, l link, prev *plugins.Result) (*plugins.Result, error) {
	req, err := c.request(a, l, prev)
	if err != nil {
		return nil, err
	}
	if l.ours() {
		return table.Lookup(l.Type, c.store).Add(ctx, req)
	}
	path, err := c.find(l.Type)
	if err != nil {
		return nil, err
	}
	result, err := invoke.ExecPluginWithResult(ctx, path, req.Config, c.environment("ADD", a, l), nil)
	if err != nil {
		return nil, err
	}
	return cniresult.FromCNI(result)
}

// del runs every plugin's DEL, the last one first, goes on past errors and
// joins them.
func (c *Catalogue) del(ctx context.Context, a *attachment) error {
	links, err := a.Chain.links()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range slices.Backward(links) {
		if err := c.delLink(ctx, a, l); err != nil {
			errs = append(errs, fmt.Errorf("plugin %s: %w", l.Type, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Catalogue) delLink(ctx context.Context, a *attachment, l link) error {
	req, err := c.request(a, l, a.Result)
	if err != nil {
		return err
	}
	if !a.alive() {
		req.NetNS = "" // its path may be another namespace's by now
	}
	if l.ours() {
		return table.Lookup(l.Type, c.store).Del(ctx, req)
	}
	path, err := c.find(l.Type)
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, path, req.Config, c.environment("DEL", a, l), nil)
}

func (c *Catalogue) find(plugin string) (string, error) {
	path, err := invoke.FindInPath(plugin, c.path)
	if err != nil {
		return "", fmt.Errorf("find it in %s: %w; install it, or name its directory in CNI_PATH", strings.Join(c.path, ", "), err)
	}
	return path, nil
}

func (c *Catalogue) request(a *attachment, l link, prev *plugins.Result) (*plugins.Request, error) {
	config, err := a.config(l, prev)
	if err != nil {
		return nil, err
	}
	req := &plugins.Request{
		Network: plugins.Network{
			Name: a.Network, Type: l.Type, CNIVersion: a.Chain.version(), Config: config, Path: c.path,
		},
		ContainerID: a.ContainerID, NetNS: a.Endpoint.NetNS, IfName: a.IfName, Prev: prev, Owner: owner,
		Args: plugins.Args{Pod: plugins.Pod{Name: a.Endpoint.Name}, Raw: map[string]string{}},
	}
	for _, arg := range a.args(l) {
		req.Args.Raw[arg[0]] = arg[1]
	}
	req.Runtime.DNS = a.Endpoint.DNS
	if l.Capabilities["portMappings"] {
		req.Runtime.PortMappings = a.Endpoint.Ports
	}
	if l.Capabilities["bandwidth"] {
		req.Runtime.Bandwidth = a.Endpoint.Bandwidth
	}
	// Names are for the resolver of berth, whatever the network declares.
	req.Runtime.Aliases = a.Endpoint.Aliases
	req.Runtime.IPs, req.Runtime.MAC = a.prefixes(), a.Endpoint.MAC
	return req, nil
}

func (c chain) version() string {
	if c.CNIVersion == "" {
		return "0.1.0" // what a missing one means (specification 1.1.0, section 1)
	}
	return c.CNIVersion
}

// config is the plugin's JSON object with what the specification's section 3
// has a runtime add to it.
func (a *attachment) config(l link, prev *plugins.Result) ([]byte, error) {
	object := map[string]json.RawMessage{}
	if err := json.Unmarshal(l.raw, &object); err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	delete(object, "capabilities")
	add := map[string]any{"name": a.Network, "cniVersion": a.Chain.version()}
	if runtime := a.runtimeConfig(l); len(runtime) > 0 {
		add["runtimeConfig"] = runtime
	}
	if prev != nil {
		raw, err := cniresult.Encode(prev, a.Chain.version())
		if err != nil {
			return nil, err
		}
		add["prevResult"] = json.RawMessage(raw)
	}
	for key, value := range add {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		object[key] = raw
	}
	return json.Marshal(object)
}

// runtimeConfig has the values of the capabilities that the plugin declares
// (CNI's CONVENTIONS.md).
func (a *attachment) runtimeConfig(l link) map[string]any {
	ep := a.Endpoint
	values := map[string]any{}
	set := func(capability string, given bool, value any) {
		if given && l.Capabilities[capability] {
			values[capability] = value
		}
	}
	set("portMappings", len(ep.Ports) > 0, ep.Ports)
	set("ips", len(ep.IPs) > 0, a.prefixes())
	set("mac", ep.MAC != nil, ep.MAC.String())
	set("aliases", len(ep.Aliases) > 0, map[string][]string{a.Network: ep.Aliases})
	if b := ep.Bandwidth; b != nil {
		set("bandwidth", true, map[string]uint64{
			"ingressRate": b.IngressRate, "ingressBurst": b.IngressBurst, "egressRate": b.EgressRate, "egressBurst": b.EgressBurst,
		})
	}
	if d := ep.DNS; d != nil {
		set("dns", true, map[string][]string{"servers": d.Nameservers, "searches": d.Search, "options": d.Options})
	}
	return values
}

// prefixes are the requested addresses with the length of the network's
// subnet, which plugin static needs.
func (a *attachment) prefixes() []netip.Prefix {
	var subnets []Subnet
	if len(a.Chain.Plugins) > 0 {
		subnets = subnetsOf(a.Chain.Plugins[0])
	}
	var list []netip.Prefix
	for _, ip := range a.Endpoint.IPs {
		p := netip.PrefixFrom(ip, ip.BitLen())
		for _, s := range subnets {
			if s.Subnet.Contains(ip) {
				p = netip.PrefixFrom(ip, s.Subnet.Bits())
			}
		}
		list = append(list, p)
	}
	return list
}

func (c *Catalogue) environment(command string, a *attachment, l link) *invoke.Args {
	netns := a.Endpoint.NetNS
	if command == "DEL" && !a.alive() {
		netns = ""
	}
	return &invoke.Args{
		Command: command, ContainerID: a.ContainerID, NetNS: netns, IfName: a.IfName,
		PluginArgs: a.args(l), Path: strings.Join(c.path, ":"),
	}
}

// args are CNI_ARGS: the name, as Podman sends it, and what the plugin has
// no capability for but may read here, as host-local does.
func (a *attachment) args(l link) [][2]string {
	args := [][2]string{{"IgnoreUnknown", "1"}}
	if a.Endpoint.Name != "" {
		args = append(args, [2]string{"K8S_POD_NAME", a.Endpoint.Name})
	}
	if len(a.Endpoint.IPs) > 0 && !l.Capabilities["ips"] {
		var ips []string
		for _, p := range a.prefixes() {
			ips = append(ips, p.String())
		}
		args = append(args, [2]string{"IP", strings.Join(ips, ",")})
	}
	if a.Endpoint.MAC != nil && !l.Capabilities["mac"] {
		args = append(args, [2]string{"MAC", a.Endpoint.MAC.String()})
	}
	return args
}
