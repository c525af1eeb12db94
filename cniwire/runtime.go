package cniwire

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"unicode"

	"github.com/berth-net/berth/plugins"
)

// runtimeConfig is the object of the CNI conventions (CONVENTIONS.md,
// "Dynamic Plugin specific fields"), and "aliases" as Podman sends it.
type runtimeConfig struct {
	PortMappings []portMapping   `json:"portMappings"`
	IPs          []string        `json:"ips"`
	MAC          string          `json:"mac"`
	Bandwidth    *bandwidth      `json:"bandwidth"`
	DNS          *dns            `json:"dns"`
	Aliases      json.RawMessage `json:"aliases"`
}

// portMapping has wide numbers, so that one that is out of range is refused
// in words of ours.
type portMapping struct {
	HostIP        string `json:"hostIP"`
	HostPort      int64  `json:"hostPort"`
	ContainerPort int64  `json:"containerPort"`
	Count         int64  `json:"count"`
	Protocol      string `json:"protocol"`
}

type bandwidth struct {
	IngressRate  int64 `json:"ingressRate"`
	IngressBurst int64 `json:"ingressBurst"`
	EgressRate   int64 `json:"egressRate"`
	EgressBurst  int64 `json:"egressBurst"`
}

type dns struct {
	Servers  []string `json:"servers"`
	Searches []string `json:"searches"`
	Options  []string `json:"options"`
}

// decodeRuntime reads and validates "runtimeConfig" for the network.
func decodeRuntime(raw json.RawMessage, network string) (out plugins.Runtime, err error) {
	var in runtimeConfig
	if isNull(raw) {
		return out, nil
	}
	if err := unmarshal("runtimeConfig", raw, &in); err != nil {
		return out, err
	}
	if out.PortMappings, err = in.portMappings(); err != nil {
		return plugins.Runtime{}, err
	}
	if out.IPs, err = in.ips(); err != nil {
		return plugins.Runtime{}, err
	}
	if in.MAC != "" {
		if out.MAC, err = parseMAC(in.MAC); err != nil {
			return plugins.Runtime{}, configError("runtimeConfig.mac: %w", err)
		}
	}
	if out.Bandwidth, err = in.Bandwidth.limits(); err != nil {
		return plugins.Runtime{}, configError("runtimeConfig.bandwidth: %w", err)
	}
	if out.DNS, err = in.DNS.resolver(); err != nil {
		return plugins.Runtime{}, configError("runtimeConfig.dns.%w", err)
	}
	if out.Aliases, err = aliases(in.Aliases, network); err != nil {
		return plugins.Runtime{}, err
	}
	return out, nil
}

func (in *runtimeConfig) ips() (ips []netip.Prefix, err error) {
	for i, s := range in.IPs {
		ip, err := parseIP(s)
		if err != nil {
			return nil, configError("runtimeConfig.ips[%d]: %w", i, err)
		}
		ips = append(ips, ip)
	}
	return ips, nil
}

func (in *runtimeConfig) portMappings() (out []plugins.PortMapping, err error) {
	for i, m := range in.PortMappings {
		mapping, err := m.decode()
		if err != nil {
			return nil, configError("runtimeConfig.portMappings[%d].%w", i, err)
		}
		out = append(out, mapping)
	}
	return out, nil
}

func (m portMapping) decode() (out plugins.PortMapping, err error) {
	if m.Count < 0 || m.Count > math.MaxUint16 {
		return out, fmt.Errorf("count: %d is not the length of a range of ports", m.Count)
	}
	last := max(m.Count, 1) - 1
	if m.HostPort < 1 || m.HostPort+last > math.MaxUint16 {
		return out, fmt.Errorf("hostPort: %d is not a port, or its range does not fit", m.HostPort)
	}
	if m.ContainerPort < 1 || m.ContainerPort+last > math.MaxUint16 {
		return out, fmt.Errorf("containerPort: %d is not a port, or its range does not fit", m.ContainerPort)
	}
	protocol := strings.ToLower(m.Protocol)
	switch protocol {
	case "":
		protocol = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return out, fmt.Errorf("protocol: %q is none of tcp, udp, sctp", m.Protocol)
	}
	out = plugins.PortMapping{
		HostPort: uint16(m.HostPort), ContainerPort: uint16(m.ContainerPort), Count: uint16(m.Count), Protocol: protocol,
	}
	if m.HostIP != "" {
		if out.HostIP, err = parseAddr(m.HostIP); err != nil || out.HostIP.IsMulticast() {
			return out, fmt.Errorf("hostIP: %q is not an address of a host", m.HostIP)
		}
	}
	return out, nil
}

func (b *bandwidth) limits() (*plugins.Bandwidth, error) {
	if b == nil {
		return nil, nil
	}
	if err := shape("ingress", b.IngressRate, b.IngressBurst); err != nil {
		return nil, err
	}
	if err := shape("egress", b.EgressRate, b.EgressBurst); err != nil {
		return nil, err
	}
	return &plugins.Bandwidth{
		IngressRate: uint64(b.IngressRate), IngressBurst: uint64(b.IngressBurst),
		EgressRate: uint64(b.EgressRate), EgressBurst: uint64(b.EgressBurst),
	}, nil
}

// shape validates one direction: the kernel's token bucket needs both values,
// and its burst is 32 bits of bytes (struct tc_tbf_qopt).
func shape(direction string, rate, burst int64) error {
	switch {
	case rate < 0 || burst < 0:
		return fmt.Errorf("%sRate %d, %sBurst %d: a limit is not negative", direction, rate, direction, burst)
	case rate == 0 && burst == 0:
		return nil
	case rate == 0 || burst == 0:
		return fmt.Errorf("%sRate %d, %sBurst %d: give both or neither", direction, rate, direction, burst)
	case burst/8 > math.MaxUint32:
		return fmt.Errorf("%sBurst: %d bits are more than the kernel's token bucket holds", direction, burst)
	}
	return nil
}

// resolver checks that nothing in it can make another line in resolv.conf.
func (d *dns) resolver() (*plugins.DNS, error) {
	if d == nil {
		return nil, nil
	}
	for i, s := range d.Servers {
		if _, err := netip.ParseAddr(s); err != nil {
			return nil, fmt.Errorf("servers[%d]: %q is not an IP address", i, s)
		}
	}
	for i, s := range d.Searches {
		if !oneWord(s) {
			return nil, fmt.Errorf("searches[%d]: %q is not a domain", i, s)
		}
	}
	for i, s := range d.Options {
		if !oneWord(s) {
			return nil, fmt.Errorf("options[%d]: %q is not an option", i, s)
		}
	}
	return &plugins.DNS{Nameservers: d.Servers, Search: d.Searches, Options: d.Options}, nil
}

func oneWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

// aliases reads a list of names, or Podman's object from a network's name to
// a list.
func aliases(raw json.RawMessage, network string) (names []string, err error) {
	const key = "runtimeConfig.aliases"
	switch {
	case isNull(raw):
		return nil, nil
	case raw[0] == '{':
		var perNetwork map[string][]string
		err = unmarshal(key, raw, &perNetwork)
		names = perNetwork[network]
	default:
		err = unmarshal(key, raw, &names)
	}
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		if why := nameProblem(name); why != "" {
			return nil, configError("%s[%d]: %q %s", key, i, name, why)
		}
	}
	return names, nil
}
