package network

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/plugins/overlay"
)

// DefaultCNIVersion is what Create writes: containerd 1.6 and Podman's CNI
// backend refuse the result of a newer one.
const DefaultCNIVersion = "1.0.0"

// cniVersions are those that know lists.
var cniVersions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// DefaultIPAM is the type of the "ipam" object where none is asked for.
const DefaultIPAM = "berth-ipam"

// CreateSpec is a network to be made.
type CreateSpec struct {
	Name       string
	Driver     string // empty: bridge
	Subnets    []Subnet
	IPv6       bool // with a subnet of its own where Subnets has none
	Internal   bool
	Options    map[string]string // by the names that Options lists
	Labels     map[string]string
	IPAM       string // type; empty: DefaultIPAM
	CNIVersion string // empty: DefaultCNIVersion
}

// Create makes a network. Nothing is written before all of it is valid, and
// of two calls at once only one gets the name or a subnet. Errors: ErrExists,
// ErrInvalid.
func (c *Catalogue) Create(spec CreateSpec) (*Network, error) {
	spec = spec.withDefaults()
	if err := spec.validate(); err != nil {
		return nil, err
	}
	var made *Network
	err := c.locked(func() (err error) {
		made, err = c.create(spec)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create network %s: %w", spec.Name, err)
	}
	return made, nil
}

func (s CreateSpec) withDefaults() CreateSpec {
	if s.Driver == "" {
		s.Driver = "bridge"
	}
	if s.CNIVersion == "" {
		s.CNIVersion = DefaultCNIVersion
	}
	if s.IPAM == "" {
		s.IPAM = DefaultIPAM
	}
	s.Subnets = slices.Clone(s.Subnets)
	return s
}

func (s CreateSpec) validate() error {
	if err := checkNetworkName(s.Name); err != nil {
		return err
	}
	if isBuiltin(s.Name) {
		return fmt.Errorf("network name %q: %w and needs no creating", s.Name, ErrBuiltin)
	}
	d, ok := drivers[s.Driver]
	if !ok {
		return fmt.Errorf("driver %q: %w: use one of %s", s.Driver, ErrInvalid, strings.Join(slices.Sorted(maps.Keys(drivers)), ", "))
	}
	if !slices.Contains(cniVersions, s.CNIVersion) {
		return fmt.Errorf("CNI version %q: %w: use one of %s", s.CNIVersion, ErrInvalid, strings.Join(cniVersions, ", "))
	}
	if !validName(s.IPAM) {
		return fmt.Errorf("IPAM type %q: %w: it must be a plain name", s.IPAM, ErrInvalid)
	}
	if !d.addresses && (len(s.Subnets) > 0 || s.IPv6 || s.Internal) {
		return fmt.Errorf("driver %s: %w: it gives no addresses, so it takes no subnet, and is not internal", s.Driver, ErrInvalid)
	}
	if s.IPAM != DefaultIPAM && (len(s.Subnets) > 0 && s.IPAM != "host-local") {
		return fmt.Errorf("IPAM type %s: %w: it takes no subnets", s.IPAM, ErrInvalid)
	}
	for k, v := range s.Labels {
		if err := checkLabel(k, v); err != nil {
			return err
		}
	}
	if err := checkSubnets(s.Subnets); err != nil {
		return err
	}
	_, err := s.conflist()
	return err
}

func checkSubnets(subnets []Subnet) error {
	for i, s := range subnets {
		if err := checkSubnet(s); err != nil {
			return err
		}
		for _, other := range subnets[:i] {
			if s.Subnet.Overlaps(other.Subnet) {
				return fmt.Errorf("subnet %s: %w: it overlaps %s", s.Subnet, ErrInvalid, other.Subnet)
			}
		}
	}
	return nil
}

// create runs with the directory locked.
func (c *Catalogue) create(spec CreateSpec) (*Network, error) {
	networks, _ := c.List() // a file that nobody can read takes no name
	for _, n := range networks {
		if n.Name == spec.Name {
			return nil, fmt.Errorf("%w (%s)", ErrExists, n.File)
		}
		if err := clash(spec, n); err != nil {
			return nil, err
		}
	}
	if err := c.addSubnets(&spec); err != nil {
		return nil, err
	}
	list, err := spec.conflist()
	if err != nil {
		return nil, err
	}
	list.Berth.Created = time.Now().UTC().Truncate(time.Second)
	raw, err := list.encode()
	if err != nil {
		return nil, err
	}
	if err := c.writeNew(fileName(spec.Name), raw); err != nil {
		return nil, err
	}
	return c.Get(spec.Name)
}

// clash refuses what two networks of one host cannot both have: a subnet that
// the host itself routes, and a bridge, or a VLAN of one.
func clash(spec CreateSpec, n *Network) error {
	if drivers[spec.Driver].routed && (drivers[n.Driver].routed || n.Origin == Foreign) {
		for _, s := range spec.Subnets {
			for _, other := range n.Subnets {
				if s.Subnet.Overlaps(other.Subnet) {
					return fmt.Errorf("subnet %s: %w: it overlaps %s of network %s", s.Subnet, ErrInvalid, other.Subnet, n.Name)
				}
			}
		}
	}
	if o := spec.onHost(); o.Bridge != "" && o == onHostOf(n) {
		return fmt.Errorf("%s: %w: network %s has it", o, ErrExists, n.Name)
	}
	return nil
}

// addSubnets carves those that were not given. Only IPv6 subnets make a
// network without IPv4.
func (c *Catalogue) addSubnets(spec *CreateSpec) error {
	if !drivers[spec.Driver].addresses || spec.IPAM != DefaultIPAM {
		return nil
	}
	hasIPv6 := slices.ContainsFunc(spec.Subnets, func(s Subnet) bool { return s.Subnet.Addr().Is6() })
	for _, family := range []struct{ v6, missing bool }{
		{false, len(spec.Subnets) == 0},
		{true, spec.IPv6 && !hasIPv6},
	} {
		if !family.missing {
			continue
		}
		p, err := c.carve(family.v6)
		if err != nil {
			return err
		}
		spec.Subnets = append(spec.Subnets, Subnet{Subnet: p})
	}
	return nil
}

// conflist is the configuration that the spec stands for.
func (s CreateSpec) conflist() (*conflist, error) {
	d := drivers[s.Driver]
	plugin := map[string]any{"type": s.Driver}
	if d.fill != nil {
		d.fill(s, plugin)
	}
	if d.addresses {
		plugin["ipam"] = s.ipam()
		plugin["names"] = true
	}
	if len(d.capabilities) > 0 {
		caps := map[string]bool{}
		for _, c := range d.capabilities {
			caps[c] = true
		}
		plugin["capabilities"] = caps
	}
	if err := applyOptions(s.Driver, s.Options, plugin); err != nil {
		return nil, err
	}
	if err := s.checkTogether(plugin); err != nil {
		return nil, err
	}
	return &conflist{
		CNIVersion: s.CNIVersion, Name: s.Name, Plugins: []map[string]any{plugin},
		Berth: meta{Internal: s.Internal, Labels: s.Labels, Options: s.Options},
	}, nil
}

// checkTogether refuses what is wrong only together, such as an overlay that
// is encrypted and has no one who exchanges keys.
func (s CreateSpec) checkTogether(plugin map[string]any) error {
	if s.Driver != "overlay" {
		return nil
	}
	object, err := json.Marshal(plugin)
	if err == nil {
		err = overlay.Validate(s.Name, object)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

type ipamRange struct {
	Subnet     netip.Prefix `json:"subnet"`
	RangeStart netip.Addr   `json:"rangeStart,omitzero"`
	RangeEnd   netip.Addr   `json:"rangeEnd,omitzero"`
	Gateway    netip.Addr   `json:"gateway,omitzero"`
}

type ipamRoute struct {
	Dst netip.Prefix `json:"dst"`
}

type ipamObject struct {
	Type   string        `json:"type"`
	Ranges [][]ipamRange `json:"ranges,omitempty"`
	Routes []ipamRoute   `json:"routes,omitempty"`
}

// ipam is the "ipam" object: one set of ranges for each family, so that a
// container has one address of each, and a default route unless the network
// is internal.
func (s CreateSpec) ipam() ipamObject {
	o := ipamObject{Type: s.IPAM}
	for _, v6 := range []bool{false, true} {
		var set []ipamRange
		for _, sub := range s.Subnets {
			if sub.Subnet.Addr().Is6() == v6 {
				set = append(set, ipamRange{sub.Subnet, sub.RangeStart, sub.RangeEnd, sub.Gateway})
			}
		}
		if len(set) == 0 {
			continue
		}
		o.Ranges = append(o.Ranges, set)
		if !s.Internal {
			o.Routes = append(o.Routes, ipamRoute{anyOf(v6)})
		}
	}
	return o
}

func anyOf(v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}
