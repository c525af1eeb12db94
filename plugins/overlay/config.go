package overlay

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// Control planes: who tells a host behind which peer an endpoint is.
const (
	Static = "static" // peers are in the configuration
	Etcd   = "etcd"   // the agent programs exact entries
	EVPN   = "evpn"   // a BGP daemon on the host programs them
)

// Who computes the checksums of what leaves by the VXLAN device.
const (
	OffloadOn   = "on"   // the network card, where it says that it can
	OffloadOff  = "off"  // the kernel
	OffloadAuto = "auto" // the kernel where the agent finds that the card does it wrong
)

const (
	defaultPort = 4789 // RFC 7348, section 5
	maxVNI      = 1<<24 - 1
	minMTU      = 1280 // IPv6's least (RFC 8200, section 5)
)

// Config is the driver's JSON object. README.md says what each key does.
type Config struct {
	ControlPlane string       `json:"controlPlane"`
	VNI          uint32       `json:"vni"`
	Port         uint16       `json:"port"`
	Peers        []netip.Addr `json:"peers"`
	Underlay     string       `json:"underlay"`
	Local        netip.Addr   `json:"local"`
	EVPNIPv6     bool         `json:"evpnIPv6"` // the BGP daemon takes IPv6 VTEPs

	Bridge      string          `json:"bridge"`
	MTU         int             `json:"mtu"`
	IPMasq      bool            `json:"ipMasq"`
	Internal    bool            `json:"internal"`
	HairpinMode bool            `json:"hairpinMode"`
	Encrypted   bool            `json:"encrypted"`
	Checksums   string          `json:"checksumOffload"`
	IPAM        json.RawMessage `json:"ipam"`

	network string
}

// parse decodes and validates the configuration without looking at the host.
func parse(net *plugins.Network) (*Config, error) {
	c := &Config{network: net.Name}
	if err := coldjson.Unmarshal(net.Config, c); err != nil {
		return nil, plugins.Errorf(plugins.CodeDecode, "decode overlay configuration of network %s: %w", net.Name, err)
	}
	c.setDefaults()
	for _, check := range []func() error{c.checkControlPlane, c.checkVXLAN, c.checkPeers, c.checkLocal, c.checkDevices, c.checkOffload} {
		if err := check(); err != nil {
			return nil, &plugins.Error{Code: plugins.CodeInvalidConfig, Err: fmt.Errorf("network %s: %w", net.Name, err)}
		}
	}
	return c, nil
}

func (c *Config) setDefaults() {
	if c.ControlPlane == "" {
		c.ControlPlane = Etcd
		if c.Peers != nil {
			c.ControlPlane = Static
		}
	}
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.Checksums == "" {
		c.Checksums = OffloadOn
		if c.ControlPlane == Etcd {
			c.Checksums = OffloadAuto
		}
	}
	for i, p := range c.Peers {
		c.Peers[i] = p.Unmap()
	}
	c.Local = c.Local.Unmap()
	if c.Bridge == "" {
		c.Bridge = deviceName("bo-", c.network)
	}
}

// deviceName is prefix and the network's name where that fits into a device's
// name, or a hash of it where not.
func deviceName(prefix, network string) string {
	if name := prefix + network; len(name) <= netdev.MaxNameLen {
		return name
	}
	return netdev.HostName(prefix, network, "", "")
}

func (c *Config) vxlanName() string { return deviceName("vx-", c.network) }

func (c *Config) checkControlPlane() error {
	if c.EVPNIPv6 && c.ControlPlane != EVPN {
		return fmt.Errorf("evpnIPv6: is of the evpn control plane, and controlPlane is %q", c.ControlPlane)
	}
	switch c.ControlPlane {
	case Static:
		if len(c.Peers) == 0 {
			return fmt.Errorf("peers: the static control plane needs the addresses of the other hosts")
		}
	case Etcd, EVPN:
		if len(c.Peers) > 0 {
			return fmt.Errorf("peers: are for the static control plane; with controlPlane %q they are found", c.ControlPlane)
		}
		if c.ControlPlane == EVPN && !c.Local.IsValid() && c.Underlay == "" {
			return fmt.Errorf("local: the evpn control plane needs this host's address in the fabric, or underlay, the device that has it")
		}
	default:
		return fmt.Errorf("controlPlane: %q is unknown; use %q, %q or %q", c.ControlPlane, Static, Etcd, EVPN)
	}
	return nil
}

func (c *Config) checkVXLAN() error {
	// Fail closed: whoever asks for encryption must not get clear text.
	if c.Encrypted && c.ControlPlane != Etcd {
		return fmt.Errorf("encrypted: the hosts exchange their keys through etcd, which controlPlane %q does without; use %q, or give peers addresses of a VPN of your own",
			c.ControlPlane, Etcd)
	}
	// The cluster gives a network of etcd its VNI.
	if c.VNI == 0 && c.ControlPlane == Etcd {
		return nil
	}
	if c.VNI == maxVNI && c.ControlPlane == Etcd {
		return fmt.Errorf("vni: %d is what the agents try tunnels with; choose another", c.VNI)
	}
	if c.VNI < 1 || c.VNI > maxVNI {
		return fmt.Errorf("vni: %d is outside 1 to %d", c.VNI, maxVNI)
	}
	return nil
}

func (c *Config) checkPeers() error {
	for i, p := range c.Peers {
		if err := checkVTEP(p); err != nil {
			return fmt.Errorf("peers: %w", err)
		}
		if p.Is4() != c.Peers[0].Is4() {
			return fmt.Errorf("peers: %s and %s are of different families; one VXLAN device has one", c.Peers[0], p)
		}
		if slices.Contains(c.Peers[:i], p) {
			return fmt.Errorf("peers: %s is listed twice", p)
		}
	}
	return nil
}

func (c *Config) checkLocal() error {
	if !c.Local.IsValid() {
		return nil
	}
	if err := checkVTEP(c.Local); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	if len(c.Peers) > 0 && c.Peers[0].Is4() != c.Local.Is4() {
		return fmt.Errorf("local: %s and the peer %s are of different families", c.Local, c.Peers[0])
	}
	if !c.fabricTakes(c.Local) {
		return fmt.Errorf("local: %w", errFabricIPv6(c.Local))
	}
	return nil
}

// fabricTakes tells whether the BGP daemon can announce an address as VTEP.
func (c *Config) fabricTakes(a netip.Addr) bool {
	return c.ControlPlane != EVPN || c.EVPNIPv6 || a.Is4()
}

// errFabricIPv6: FRR before 10.6 does not read the IPv6 address of a VXLAN
// device and announces its router ID in its place, so that the others send to
// an address that is nobody's (zebra/if_netlink.c knows IFLA_VXLAN_LOCAL only).
func errFabricIPv6(a netip.Addr) error {
	return fmt.Errorf("%s: FRR before 10.6 has IPv4 VTEPs only and would announce its router ID instead; "+
		"give an IPv4 address, or set evpnIPv6 where the BGP daemon of every host takes IPv6", a)
}

// checkVTEP says why an address cannot be an end of a tunnel.
func checkVTEP(a netip.Addr) error {
	switch {
	case !a.IsValid():
		return fmt.Errorf("an empty address")
	case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s is not an address of one host", a)
	case a.IsLinkLocalUnicast() && a.Is6():
		return fmt.Errorf("%s is link-local; give the host's global or unique local address", a)
	}
	return nil
}

func (c *Config) checkDevices() error {
	if problem := netdev.NameProblem(c.Bridge); problem != "" {
		return fmt.Errorf("bridge: %q %s", c.Bridge, problem)
	}
	if problem := netdev.NameProblem(c.Underlay); problem != "" && c.Underlay != "" {
		return fmt.Errorf("underlay: %q %s", c.Underlay, problem)
	}
	if c.MTU != 0 && (c.MTU < minMTU || c.MTU > 65535) {
		return fmt.Errorf("mtu: %d is outside %d to 65535; leave it out to have it follow the underlay's", c.MTU, minMTU)
	}
	return nil
}

func (c *Config) checkOffload() error {
	switch c.Checksums {
	case OffloadOn, OffloadOff:
		return nil
	case OffloadAuto:
		if c.ControlPlane == Etcd {
			return nil
		}
		return fmt.Errorf("checksumOffload: it is the agent that finds out what auto means, and it does not serve controlPlane %q; use %q or %q", c.ControlPlane, OffloadOn, OffloadOff)
	}
	return fmt.Errorf("checksumOffload: %q is unknown; use %q, %q or %q", c.Checksums, OffloadOn, OffloadOff, OffloadAuto)
}

// Encapsulation is what VXLAN adds to a packet: outer IP, UDP and VXLAN
// headers, and the inner Ethernet header (RFC 7348, section 5).
func Encapsulation(underlay netip.Addr) int {
	if underlay.Is4() {
		return 20 + 8 + 8 + 14
	}
	return 40 + 8 + 8 + 14
}

// Locally administered addresses, told apart by their first byte.
const (
	macOfContainer4 = 0x02
	macOfContainer6 = 0x06
	macOfGateway    = 0x0a
	macOfVTEP       = 0x0e
)

// gatewayMAC is the same on all hosts of a network, as the gateway's address
// is, so that a container that moves keeps its neighbour entry.
func gatewayMAC(vni uint32) net.HardwareAddr {
	return net.HardwareAddr{macOfGateway, 'b', 'g', byte(vni >> 16), byte(vni >> 8), byte(vni)}
}

// vtepMAC is the same whenever this host makes the device again: peers
// remember it (systemd's MACAddressPolicy gives a device without one of its
// own a new one).
func vtepMAC(vni uint32, local netip.Addr) net.HardwareAddr {
	return hashMAC(macOfVTEP, binary.BigEndian.AppendUint32(local.AsSlice(), vni))
}

// ContainerMAC follows from the address, so that a container that comes back
// with the same address, on this or another host, is who its peers remember.
func ContainerMAC(a netip.Addr) net.HardwareAddr {
	if a.Is4() {
		return append(net.HardwareAddr{macOfContainer4, 'b'}, a.AsSlice()...)
	}
	return hashMAC(macOfContainer6, a.AsSlice())
}

func hashMAC(first byte, of []byte) net.HardwareAddr {
	sum := sha256.Sum256(of)
	return append(net.HardwareAddr{first}, sum[:5]...)
}

// OfCluster tells whether a plugin's JSON object is of a network that the
// agents keep in etcd.
func OfCluster(raw []byte) bool {
	c := new(Config)
	if coldjson.Unmarshal(raw, c) != nil {
		return false
	}
	c.setDefaults()
	return c.ControlPlane == Etcd
}
