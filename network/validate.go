package network

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"

	"github.com/containernetworking/cni/pkg/utils"

	"github.com/berth-net/berth/internal/words"
	"github.com/berth-net/berth/netdev"
)

// maxNameLen keeps berth-NAME.conflist and its temporary file within NAME_MAX.
const maxNameLen = 128

// validName is what the CNI specification, section 1, allows in the name of a
// network and in a container id; neither can lead out of a directory.
func validName(s string) bool { return words.Name(s, len(s)) }

func checkNetworkName(name string) error {
	if len(name) > maxNameLen || !validName(name) {
		return fmt.Errorf("network name %q: %w: use 1 to %d letters, digits, dots, dashes and underscores, a letter or digit first",
			name, ErrInvalid, maxNameLen)
	}
	return nil
}

func checkContainerID(id string) error {
	if !validName(id) {
		return fmt.Errorf("container id %q: %w: use letters, digits, dots, dashes and underscores, a letter or digit first", id, ErrInvalid)
	}
	return nil
}

func checkIfName(name string) error {
	if err := utils.ValidateInterfaceName(name); err != nil {
		return fmt.Errorf("interface name %q: %w: %s; use 1 to %d characters", name, ErrInvalid, err.Msg, netdev.MaxNameLen)
	}
	if name == "lo" {
		return fmt.Errorf("interface name %q: %w: it is the loopback's", name, ErrInvalid)
	}
	return nil
}

func checkMAC(mac net.HardwareAddr) error {
	zero := len(mac) == 6 && mac.String() == "00:00:00:00:00:00"
	if len(mac) != 6 || zero || mac[0]&1 != 0 {
		return fmt.Errorf("MAC address %q: %w: use six bytes of a unicast address, such as 02:00:00:00:00:01", mac, ErrInvalid)
	}
	return nil
}

// validAlias is a label of a host name (RFC 1123), or several joined by dots;
// an underscore is what people use although the RFC does not have it.
func validAlias(s string) bool { return words.Host(s, "_") }

func checkAlias(alias string) error {
	if len(alias) > 253 || !validAlias(alias) {
		return fmt.Errorf("alias %q: %w: use a host name", alias, ErrInvalid)
	}
	return nil
}

func checkLabel(key, value string) error {
	if key == "" || strings.ContainsFunc(key+value, unicode.IsControl) || strings.ContainsAny(key, "=, ") {
		return fmt.Errorf("label %q: %w: use KEY=VALUE without control characters, and no comma or blank in KEY", key+"="+value, ErrInvalid)
	}
	return nil
}

// checkSubnet demands the network's own address, without zone and without
// host bits: 10.1.0.0/16, not 10.1.2.3/16.
func checkSubnet(s Subnet) error {
	p := s.Subnet
	if !p.IsValid() || p.Addr().Is4In6() {
		return fmt.Errorf("subnet %q: %w: use CIDR notation, such as 10.1.0.0/24", p, ErrInvalid)
	}
	if p != p.Masked() {
		return fmt.Errorf("subnet %s: %w: the subnet's own address is %s", p, ErrInvalid, p.Masked())
	}
	if a := p.Addr(); a.IsMulticast() || a.IsLoopback() || p.Bits() == 0 {
		return fmt.Errorf("subnet %s: %w: containers cannot have such addresses", p, ErrInvalid)
	}
	for _, part := range []struct {
		what string
		addr netip.Addr
	}{{"gateway", s.Gateway}, {"first address", s.RangeStart}, {"last address", s.RangeEnd}} {
		if part.addr.IsValid() && !p.Contains(part.addr) {
			return fmt.Errorf("%s %s: %w: it is not in the subnet %s", part.what, part.addr, ErrInvalid, p)
		}
	}
	return nil
}
