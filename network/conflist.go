package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/version"
)

// meta is what berth keeps in a conflist of its own besides what CNI knows.
// Other runtimes ignore the key: the specification lets a list have more
// than it defines.
type meta struct {
	Created  time.Time         `json:"created"`
	Internal bool              `json:"internal,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Options  map[string]string `json:"options,omitempty"`
}

// conflist is what berth writes.
type conflist struct {
	CNIVersion string           `json:"cniVersion"`
	Name       string           `json:"name"`
	Berth      meta             `json:"berth"`
	Plugins    []map[string]any `json:"plugins"`
}

func (l *conflist) encode() (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("encode network %s: %w", l.Name, err)
	}
	return b.Bytes(), nil
}

// chain is a network with the plugins that make it, in order.
type chain struct {
	Name       string            `json:"name"`
	CNIVersion string            `json:"cniVersion"`
	Plugins    []json.RawMessage `json:"plugins"`
}

// readFile reads a conflist, or the single plugin's configuration that CNI
// knew before 1.0.0.
func readFile(path string) (*Network, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read network: %w", err)
	}
	list, err := parse(raw, filepath.Ext(path) == ".conflist", filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("read network %s: %w", path, err)
	}
	n, err := describe(list)
	if err != nil {
		return nil, fmt.Errorf("read network %s: %w", path, err)
	}
	n.File = path
	if n.Origin == Berth && filepath.Base(path) != fileName(n.Name) {
		n.Origin = Foreign // a copy under another name is its writer's
	}
	return n, nil
}

// parse decodes a configuration. The plugins of a list may also be in files
// of their own in dir/NAME (specification 1.1.0, section 1).
func parse(raw []byte, isList bool, dir string) (*libcni.NetworkConfigList, error) {
	if !isList {
		conf, err := libcni.NetworkPluginConfFromBytes(raw)
		if err != nil {
			return nil, err
		}
		if err := checkNetworkName(conf.Network.Name); err != nil {
			return nil, err
		}
		//lint:ignore SA1019 a file of one plugin is what other CNI runtimes still read
		return libcni.ConfListFromConf(conf)
	}
	list, err := libcni.NetworkConfFromBytes(raw)
	if err != nil {
		return nil, err
	}
	// Before the name becomes a path.
	if err := checkNetworkName(list.Name); err != nil {
		return nil, err
	}
	if dir != "" && !list.LoadOnlyInlinedPlugins {
		extra, err := libcni.NetworkPluginConfsFromFiles(dir, list.Name)
		if err != nil {
			return nil, err
		}
		list.Plugins = append(list.Plugins, extra...)
	}
	if len(list.Plugins) == 0 {
		return nil, fmt.Errorf("plugins: %w: there is none", ErrInvalid)
	}
	return list, nil
}

func describe(list *libcni.NetworkConfigList) (*Network, error) {
	c := chain{Name: list.Name, CNIVersion: list.CNIVersion}
	for i, p := range list.Plugins {
		if !validName(p.Network.Type) {
			// CVE-2021-20206: a type becomes a path.
			return nil, fmt.Errorf("plugins[%d]: type %q: %w: it must be a plain name", i, p.Network.Type, ErrInvalid)
		}
		c.Plugins = append(c.Plugins, p.Bytes)
	}
	if _, _, _, err := version.ParseVersion(c.CNIVersion); err != nil && c.CNIVersion != "" {
		return nil, fmt.Errorf("cniVersion %q: %w", c.CNIVersion, ErrInvalid)
	}
	var extra struct {
		Berth *meta `json:"berth"`
	}
	if err := json.Unmarshal(list.Bytes, &extra); err != nil {
		return nil, fmt.Errorf("berth: %w: %w", ErrInvalid, err)
	}
	n := &Network{
		Name: list.Name, Driver: list.Plugins[0].Network.Type, Origin: Foreign,
		CNIVersion: list.CNIVersion, Config: list.Bytes, chain: c,
		Subnets: subnetsOf(list.Plugins[0].Bytes),
	}
	if extra.Berth != nil {
		n.Origin, n.Created, n.Internal = Berth, extra.Berth.Created, extra.Berth.Internal
		n.Labels, n.Options = extra.Berth.Labels, extra.Berth.Options
	}
	return n, nil
}

// subnetsOf reads what host-local and berth-ipam have in common. It is for
// people to look at: what does not parse is left out, and the plugin says why.
func subnetsOf(plugin []byte) []Subnet {
	type rng struct {
		Subnet, Gateway, RangeStart, RangeEnd string
	}
	var conf struct {
		IPAM struct {
			rng
			Ranges [][]rng
		}
	}
	if json.Unmarshal(plugin, &conf) != nil {
		return nil
	}
	var subnets []Subnet
	for _, set := range append([][]rng{{conf.IPAM.rng}}, conf.IPAM.Ranges...) {
		for _, r := range set {
			p, err := netip.ParsePrefix(r.Subnet)
			if err != nil {
				continue
			}
			s := Subnet{Subnet: p.Masked()}
			s.Gateway, _ = netip.ParseAddr(r.Gateway)
			s.RangeStart, _ = netip.ParseAddr(r.RangeStart)
			s.RangeEnd, _ = netip.ParseAddr(r.RangeEnd)
			subnets = append(subnets, s)
		}
	}
	return subnets
}
