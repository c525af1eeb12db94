package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/netns"
)

// validate checks an endpoint against the network before anything is touched.
func (ep *Endpoint) validate(n *Network) error {
	if err := checkContainerID(ep.ContainerID); err != nil {
		return err
	}
	if ep.IfName != "" {
		if err := checkIfName(ep.IfName); err != nil {
			return err
		}
	}
	if ep.MAC != nil {
		if err := checkMAC(ep.MAC); err != nil {
			return err
		}
	}
	for _, alias := range ep.Aliases {
		if err := checkAlias(alias); err != nil {
			return err
		}
	}
	if err := ep.checkIPs(n); err != nil {
		return err
	}
	if len(ep.Ports) > 0 && !n.chain.can("portMappings") {
		return fmt.Errorf("ports: %w: network %s (driver %s) publishes none", ErrInvalid, n.Name, n.Driver)
	}
	if ep.Bandwidth != nil && !n.chain.can("bandwidth") {
		return fmt.Errorf("bandwidth: %w: network %s (driver %s) has no such limit", ErrInvalid, n.Name, n.Driver)
	}
	ns, err := netns.Open(ep.NetNS)
	if err != nil {
		return fmt.Errorf("container %s: %w", ep.ContainerID, err)
	}
	return ns.Close()
}

func (ep *Endpoint) checkIPs(n *Network) error {
	for i, ip := range ep.IPs {
		if !ip.IsValid() || ip.Is4In6() || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("address %q: %w: use an address of a container", ip, ErrInvalid)
		}
		same := func(other netip.Addr) bool { return other.Is4() == ip.Is4() }
		if slices.ContainsFunc(ep.IPs[:i], same) {
			return fmt.Errorf("address %s: %w: give at most one of each family", ip, ErrInvalid)
		}
		in := func(s Subnet) bool { return s.Subnet.Contains(ip) }
		if len(n.Subnets) > 0 && !slices.ContainsFunc(n.Subnets, in) {
			return fmt.Errorf("address %s: %w: network %s has the subnets %s", ip, ErrInvalid, n.Name, subnetNames(n))
		}
	}
	return nil
}

func subnetNames(n *Network) (names []netip.Prefix) {
	for _, s := range n.Subnets {
		names = append(names, s.Subnet)
	}
	return names
}
