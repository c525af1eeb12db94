package ipam

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/resolvconf"
)

// The wire's form of Config. Keys are those of the CNI project's host-local
// plugin; exclude, reservations and probe are ours.
type wireConfig struct {
	wireRange                    // the single range of old configurations
	Type       string            `json:"type"`
	Ranges     [][]wireRange     `json:"ranges"`
	Routes     []wireRoute       `json:"routes"`
	ResolvConf string            `json:"resolvConf"`
	DataDir    string            `json:"dataDir"`
	Reserved   []wireReservation `json:"reservations"`
	Probe      bool              `json:"probe"`
}

type wireRange struct {
	Subnet     string   `json:"subnet"`
	RangeStart string   `json:"rangeStart"`
	RangeEnd   string   `json:"rangeEnd"`
	Gateway    string   `json:"gateway"`
	Exclude    []string `json:"exclude"`
}

type wireRoute struct {
	Dst      string `json:"dst"`
	GW       string `json:"gw"`
	MTU      int    `json:"mtu"`
	AdvMSS   int    `json:"advmss"`
	Priority int    `json:"priority"`
	Table    *int   `json:"table"`
	Scope    *int   `json:"scope"`
}

type wireReservation struct {
	Address string `json:"address"`
	Name    string `json:"name"`
	MAC     string `json:"mac"`
}

// Parse decodes the "ipam" object of a plugin's configuration and validates
// it. An error names the key that is wrong and carries plugins.CodeInvalidConfig.
// Of another plugin's object only the type is looked at.
func Parse(raw []byte) (*Config, error) { return ParseWith(raw, nil) }

// ParseWith is Parse with the runtime's capability "ipRanges": range sets
// that come before those of the configuration. It may be nil.
func ParseWith(raw, ipRanges []byte) (*Config, error) {
	c, err := parse(raw, ipRanges)
	if err != nil {
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "ipam: %w", err)
	}
	return c, nil
}

func parse(raw, ipRanges []byte) (*Config, error) {
	var kind struct {
		Type string `json:"type"`
	}
	if err := coldjson.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	if kind.Type == "" {
		return nil, fmt.Errorf(`key "type" is missing`)
	}
	c := &Config{Type: kind.Type}
	if !ours(c.Type) {
		return c, nil
	}
	var w wireConfig
	if err := coldjson.Unmarshal(raw, &w); err != nil {
		return nil, err
	}
	return c, c.fill(&w, ipRanges)
}

// ours tells the names that this package is installed by.
func ours(name string) bool { return name == "berth-ipam" || name == "host-local" }

func (c *Config) fill(w *wireConfig, ipRanges []byte) (err error) {
	if w.DataDir != "" {
		c.Unused = append(c.Unused, "dataDir")
	}
	c.Probe = w.Probe
	if c.Ranges, err = w.rangeSets(ipRanges); err != nil {
		return err
	}
	if c.Routes, err = parseRoutes(w.Routes); err != nil {
		return err
	}
	if err := c.exclude(w); err != nil {
		return err
	}
	if w.ResolvConf != "" {
		if c.DNS, err = resolvconf.Read(w.ResolvConf); err != nil {
			return fmt.Errorf("resolvConf: %w", err)
		}
	}
	return err
}

// rangeSets puts the capability's ranges first and the single one of old
// configurations before "ranges", as host-local does.
func (w *wireConfig) rangeSets(ipRanges []byte) ([]RangeSet, error) {
	var wire [][]wireRange
	if len(bytes.TrimSpace(ipRanges)) > 0 {
		if err := coldjson.Unmarshal(ipRanges, &wire); err != nil {
			return nil, fmt.Errorf("runtimeConfig.ipRanges: %w", err)
		}
	}
	if w.Subnet != "" {
		wire = append(wire, []wireRange{w.wireRange})
	} else if w.RangeStart != "" || w.RangeEnd != "" || w.Gateway != "" {
		return nil, fmt.Errorf(`rangeStart, rangeEnd and gateway need a "subnet" beside them`)
	}
	wire = append(wire, w.Ranges...)
	if len(wire) == 0 {
		return nil, fmt.Errorf(`no addresses to give: set "ranges" or "subnet"`)
	}
	sets := make([]RangeSet, len(wire))
	for i, set := range wire {
		var err error
		if sets[i], err = parseSet(set); err != nil {
			return nil, fmt.Errorf("ranges[%d]%w", i, err)
		}
	}
	return sets, disjoint(sets)
}

func parseSet(wire []wireRange) (RangeSet, error) {
	if len(wire) == 0 {
		return nil, fmt.Errorf(": an empty range set")
	}
	set := make(RangeSet, len(wire))
	for i := range wire {
		var err error
		if set[i], err = parseRange(&wire[i]); err != nil {
			return nil, fmt.Errorf("[%d].%w", i, err)
		}
		if set[i].Subnet.Addr().BitLen() != set[0].Subnet.Addr().BitLen() {
			return nil, fmt.Errorf("[%d].subnet: %s and %s in one range set: give each family a set of its own",
				i, set[0].Subnet, set[i].Subnet)
		}
	}
	return set, nil
}

func disjoint(sets []RangeSet) error {
	type named struct {
		name string
		run  Run
	}
	var seen []named
	for i, set := range sets {
		for j, r := range set {
			here := named{fmt.Sprintf("ranges[%d][%d]", i, j), r.run()}
			for _, before := range seen {
				if before.run.overlaps(here.run) {
					return fmt.Errorf("%s (%s) overlaps %s (%s)", here.name, here.run, before.name, before.run)
				}
			}
			seen = append(seen, here)
		}
	}
	return nil
}

func parseRange(w *wireRange) (r Range, err error) {
	if r.Subnet, err = parseSubnet(w.Subnet); err != nil {
		return r, fmt.Errorf("subnet: %w", err)
	}
	r.defaults()
	for _, key := range []struct {
		name, value string
		to          *netip.Addr
	}{{"rangeStart", w.RangeStart, &r.Start}, {"rangeEnd", w.RangeEnd, &r.End}, {"gateway", w.Gateway, &r.Gateway}} {
		if key.value == "" {
			continue
		}
		if *key.to, err = parseAddr(key.value); err != nil {
			return r, fmt.Errorf("%s: %w", key.name, err)
		}
		// A gateway may lie outside: point-to-point links have such.
		if key.name != "gateway" && !r.Subnet.Contains(*key.to) {
			return r, fmt.Errorf("%s: %s is not in %s", key.name, *key.to, r.Subnet)
		}
	}
	if r.Gateway.IsValid() && r.Gateway.BitLen() != r.Start.BitLen() {
		return r, fmt.Errorf("gateway: %s is not of the family of %s", r.Gateway, r.Subnet)
	}
	if r.End.Less(r.Start) {
		return r, fmt.Errorf("rangeEnd: %s is below rangeStart %s", r.End, r.Start)
	}
	return r, nil
}

func parseSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is not a subnet such as 10.1.0.0/24", s)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%s is IPv4 mapped into IPv6: write it as IPv4", s)
	case p != p.Masked():
		return p, fmt.Errorf("%s has host bits set: the subnet is %s", s, p.Masked())
	}
	return p, nil
}

// defaults are host-local's: the gateway is the subnet's first host, IPv4's
// broadcast address is left out. In a subnet of two addresses both are hosts
// (RFC 3021, RFC 6164), and one of a single address has no gateway.
func (r *Range) defaults() {
	first, last := r.Subnet.Addr(), lastOf(r.Subnet)
	switch first.BitLen() - r.Subnet.Bits() {
	case 0:
		r.Start, r.End = first, first
	case 1:
		r.Start, r.End, r.Gateway = first, last, first
	default:
		r.Start, r.End, r.Gateway = first.Next(), last, first.Next()
		if first.Is4() {
			r.End = last.Prev()
		}
	}
}

func (r *Range) run() Run { return Run{r.Start, r.End} }

func (r Range) String() string { return fmt.Sprintf("%s (%s)", r.Subnet, r.run()) }

// exclude fills the holes of every range.
func (c *Config) exclude(w *wireConfig) error {
	var common []Run
	if err := appendRuns(&common, w.Exclude); err != nil {
		return fmt.Errorf("exclude: %w", err)
	}
	if err := c.reserve(w.Reserved); err != nil {
		return err
	}
	for i, set := range c.Ranges {
		for j := range set {
			r := &set[j]
			runs := common
			if own := w.excludeOf(len(c.Ranges), i, j); own != nil {
				runs = append([]Run(nil), common...)
				if err := appendRuns(&runs, own); err != nil {
					return fmt.Errorf("ranges[%d][%d].exclude: %w", i, j, err)
				}
			}
			r.close(runs, c.Reservations)
		}
	}
	return nil
}

// excludeOf is the "exclude" of range j of set i. Sets in front of those of
// "ranges" have none of their own.
func (w *wireConfig) excludeOf(sets, i, j int) []string {
	if i -= sets - len(w.Ranges); i < 0 {
		return nil
	}
	return w.Ranges[i][j].Exclude
}

func appendRuns(to *[]Run, texts []string) error {
	for _, s := range texts {
		r, err := parseRun(s)
		if err != nil {
			return err
		}
		*to = append(*to, r)
	}
	return nil
}

func (r *Range) close(excluded []Run, reserved []Reservation) {
	var runs []Run
	for _, e := range excluded {
		if e.overlaps(Run{r.Subnet.Addr(), lastOf(r.Subnet)}) {
			runs = append(runs, e)
		}
	}
	if r.Gateway.IsValid() {
		runs = append(runs, Run{r.Gateway, r.Gateway})
	}
	r.Excluded = join(append([]Run(nil), runs...))
	for _, x := range reserved {
		if r.Subnet.Contains(x.Address) {
			runs = append(runs, Run{x.Address, x.Address})
		}
	}
	r.Holes = join(runs)
}

func (c *Config) reserve(wire []wireReservation) error {
	taken := map[netip.Addr]bool{}
	for i, w := range wire {
		r, err := parseReservation(w)
		if err != nil {
			return fmt.Errorf("reservations[%d].%w", i, err)
		}
		if taken[r.Address] {
			return fmt.Errorf("reservations[%d].address: %s is reserved twice", i, r.Address)
		}
		if c.rangeOf(r.Address) == nil {
			return fmt.Errorf("reservations[%d].address: %s is in no subnet of the ranges", i, r.Address)
		}
		taken[r.Address] = true
		c.Reservations = append(c.Reservations, r)
	}
	return nil
}

func parseReservation(w wireReservation) (r Reservation, err error) {
	if r.Address, err = parseAddr(w.Address); err != nil {
		return r, fmt.Errorf("address: %w", err)
	}
	if w.Name == "" && w.MAC == "" {
		return r, fmt.Errorf("name: give a name or a mac")
	}
	r.Name = w.Name
	if w.MAC != "" {
		if r.MAC, err = net.ParseMAC(w.MAC); err != nil {
			return r, fmt.Errorf("mac: %w", err)
		}
	}
	return r, nil
}

// rangeOf is the range whose subnet has the address.
func (c *Config) rangeOf(a netip.Addr) *Range {
	for _, set := range c.Ranges {
		for i := range set {
			if set[i].Subnet.Contains(a) {
				return &set[i]
			}
		}
	}
	return nil
}

func parseRoutes(wire []wireRoute) ([]plugins.Route, error) {
	var routes []plugins.Route
	for i, w := range wire {
		dst, err := netip.ParsePrefix(w.Dst)
		if err != nil {
			return nil, fmt.Errorf("routes[%d].dst: %q is not a subnet such as 0.0.0.0/0", i, w.Dst)
		}
		r := plugins.Route{
			Dst: dst.Masked(), MTU: w.MTU, AdvMSS: w.AdvMSS, Priority: w.Priority, Table: w.Table, Scope: w.Scope,
		}
		if w.GW != "" {
			if r.Gateway, err = parseAddr(w.GW); err != nil {
				return nil, fmt.Errorf("routes[%d].gw: %w", i, err)
			}
			if r.Gateway.BitLen() != dst.Addr().BitLen() {
				return nil, fmt.Errorf("routes[%d].gw: %s is not of the family of %s", i, r.Gateway, r.Dst)
			}
		}
		routes = append(routes, r)
	}
	return routes, nil
}
