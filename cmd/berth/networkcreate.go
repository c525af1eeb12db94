package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/network"
)

// createFlags are the flags of berth network create as they were typed.
type createFlags struct {
	driver, ipam, cniVersion  string
	subnets, gateways, ranges []string
	options, labels           []string
	ipv6, internal            bool
}

func networkCreateCommand() *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create [flags] NAME",
		Short: "Create a network",
		Long: `Create a network, and write it to /etc/cni/net.d/berth-NAME.conflist.

Without --subnet one is chosen that no other network and no route of the host has, from
the pools that BERTH_POOLS lists, such as 10.210.0.0/16:24,fd12:3456:789a::/48:64.

` + optionsHelp(),
		Example: `  # a bridge with a subnet of its choice
  berth network create front

  # IPv4 and IPv6, addresses from a part of the subnet only
  berth network create --subnet 10.20.0.0/16 --ip-range 10.20.5.0/24 --subnet fd20::/64 app

  # on the LAN of eth0, as machines of their own
  berth network create -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 --gateway 192.0.2.1 lan

  # the same network on two hosts, without a server
  berth network create -d overlay -o peers=198.51.100.2 -o vni=42 --subnet 10.42.0.0/24 wide

  # no way out
  berth network create --internal --label tier=data db`,
		Args:              exactArgs("NAME"),
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.driver, "driver", "d", "bridge", strings.Join(network.DriverNames(), ", "))
	fl.StringArrayVar(&f.subnets, "subnet", nil, "subnet in CIDR notation; one or more of each family")
	fl.StringArrayVar(&f.gateways, "gateway", nil, "gateway of the subnet that it is in (default: the subnet's first address)")
	fl.StringArrayVar(&f.ranges, "ip-range", nil, "give addresses from this part of the subnet, in CIDR notation or FIRST-LAST")
	fl.BoolVar(&f.ipv6, "ipv6", false, "choose an IPv6 subnet, too")
	fl.BoolVar(&f.internal, "internal", false, "no way out of the network")
	fl.StringArrayVarP(&f.options, "opt", "o", nil, "option of the driver: KEY=VALUE")
	fl.StringArrayVar(&f.labels, "label", nil, "label: KEY=VALUE")
	fl.StringVar(&f.ipam, "ipam", network.DefaultIPAM, "IPAM plugin that gives the addresses, such as dhcp")
	fl.StringVar(&f.cniVersion, "cni-version", network.DefaultCNIVersion, "CNI version to write; Podman's CNI backend and containerd 1.6 refuse a newer one")
	complete(cmd, "driver", network.DriverNames()...)
	complete(cmd, "ipam", network.DefaultIPAM, "dhcp", "static", "host-local")
	return cmd
}

func optionsHelp() string {
	var b strings.Builder
	b.WriteString("Options (-o KEY=VALUE) of the drivers; Docker's names are understood, too:\n")
	for _, d := range network.DriverNames() {
		options := network.DriverOptions(d)
		if len(options) == 0 {
			fmt.Fprintf(&b, "\n%s: none\n", d)
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n", d)
		for _, o := range options {
			fmt.Fprintf(&b, "  %-14s %s (default: %s)\n", o.Name, o.Help, o.Default)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

func (f *createFlags) run(cmd *cobra.Command, name string) error {
	spec, err := f.spec(name)
	if err != nil {
		return &usageError{err}
	}
	c, err := openCatalogue()
	if err != nil {
		return err
	}
	n, err := c.Create(*spec)
	if err != nil {
		return err
	}
	if err := shareNetwork(cmd, c, n); err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), n.Name)
	return err
}

func (f *createFlags) spec(name string) (*network.CreateSpec, error) {
	subnets, err := f.parseSubnets()
	if err != nil {
		return nil, err
	}
	options, err := pairs("--opt", f.options)
	if err != nil {
		return nil, err
	}
	labels, err := pairs("--label", f.labels)
	if err != nil {
		return nil, err
	}
	return &network.CreateSpec{
		Name: name, Driver: f.driver, Subnets: subnets, IPv6: f.ipv6, Internal: f.internal,
		Options: options, Labels: labels, IPAM: f.ipam, CNIVersion: f.cniVersion,
	}, nil
}

// parseSubnets joins each gateway and range to the subnet that it is in.
func (f *createFlags) parseSubnets() ([]network.Subnet, error) {
	var subnets []network.Subnet
	for _, s := range f.subnets {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--subnet %q: use CIDR notation, such as 10.1.0.0/24", s)
		}
		subnets = append(subnets, network.Subnet{Subnet: p})
	}
	for _, s := range f.gateways {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("--gateway %q: use an IP address", s)
		}
		sub := subnetOf(subnets, a)
		if sub == nil {
			return nil, fmt.Errorf("--gateway %s: it is in no --subnet", a)
		}
		if sub.Gateway.IsValid() {
			return nil, fmt.Errorf("--gateway %s: the subnet %s has the gateway %s", a, sub.Subnet, sub.Gateway)
		}
		sub.Gateway = a
	}
	for _, s := range f.ranges {
		first, last, err := parseRange(s)
		if err != nil {
			return nil, err
		}
		sub := subnetOf(subnets, first)
		if sub == nil || !sub.Subnet.Contains(last) {
			return nil, fmt.Errorf("--ip-range %s: it is in no --subnet", s)
		}
		if sub.RangeStart.IsValid() {
			return nil, fmt.Errorf("--ip-range %s: the subnet %s has the range %s-%s", s, sub.Subnet, sub.RangeStart, sub.RangeEnd)
		}
		sub.RangeStart, sub.RangeEnd = first, last
	}
	return subnets, nil
}

func subnetOf(subnets []network.Subnet, a netip.Addr) *network.Subnet {
	for i := range subnets {
		if subnets[i].Subnet.Contains(a) {
			return &subnets[i]
		}
	}
	return nil
}

func parseRange(s string) (first, last netip.Addr, err error) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		first, err = netip.ParseAddr(from)
		if err == nil {
			last, err = netip.ParseAddr(to)
		}
		if err != nil || last.Less(first) {
			return first, last, fmt.Errorf("--ip-range %q: use FIRST-LAST, such as 10.1.0.10-10.1.0.99", s)
		}
		return first, last, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p != p.Masked() {
		return first, last, fmt.Errorf("--ip-range %q: use CIDR notation, such as 10.1.0.128/25, or FIRST-LAST", s)
	}
	return p.Addr(), lastOf(p), nil
}

func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// pairs reads KEY=VALUE; a KEY alone has an empty value.
func pairs(flag string, args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		if key == "" {
			return nil, fmt.Errorf("%s %q: use KEY=VALUE", flag, arg)
		}
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("%s %q: %s is given twice", flag, arg, key)
		}
		m[key] = value
	}
	return m, nil
}
