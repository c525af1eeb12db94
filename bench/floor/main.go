// Command floor is the least that an ADD can cost: the netlink and nftables
// requests of one, with everything about them known beforehand, and nothing
// else. No configuration is read, nothing is leased or recorded.
//
//	floor add NETNS HOSTPORT HOSTIFNAME
//	floor del HOSTPORT HOSTIFNAME
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
)

const bridge = "br0"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 4 && args[0] == "add" {
		return add(args[1], args[2], args[3])
	}
	if len(args) == 3 && args[0] == "del" {
		return del(args[1], args[2])
	}
	return fmt.Errorf("usage: floor add NETNS HOSTPORT HOSTIFNAME | floor del HOSTPORT HOSTIFNAME")
}

func policy(hostPort string) (*firewall.Network, *firewall.Endpoint, netip.Prefix, error) {
	port, err := strconv.ParseUint(hostPort, 10, 16)
	addr := netip.AddrFrom4([4]byte{10, 9, byte(port >> 8), byte(port)})
	return &firewall.Network{Bridge: bridge, Isolated: true, Hidden: true}, &firewall.Endpoint{
		Addresses: []netip.Addr{addr}, Masquerade: true,
		Ports: []plugins.PortMapping{{HostPort: uint16(port), ContainerPort: 80, Protocol: "tcp"}},
	}, netip.PrefixFrom(addr, 16), err
}

func add(path, hostPort, name string) error {
	n, e, addr, err := policy(hostPort)
	if err != nil {
		return err
	}
	ns, err := netns.Open(path)
	if err != nil {
		return err
	}
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	br, err := c.Device(bridge)
	if err != nil {
		return err
	}
	b := new(netdev.Batch)
	b.AddVeth(&netdev.Veth{Name: name, Master: br.Index, MTU: 1500, PeerName: "eth0", PeerMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, PeerNS: ns.FD()})
	b.ChangeLink(name, netdev.LinkChange{Up: true})
	if err := c.Do(b); err != nil {
		return err
	}
	if err := ns.Do(func() error { return configure(addr) }); err != nil {
		return err
	}
	return firewall.NFTables{}.Add(n, e)
}

func configure(addr netip.Prefix) error {
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	dev, err := c.Device("eth0")
	if err != nil {
		return err
	}
	b := new(netdev.Batch)
	b.AddAddr(dev.Index, addr, false)
	b.ChangeLink("eth0", netdev.LinkChange{Up: true})
	b.AddRoute(dev.Index, netdev.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: netip.AddrFrom4([4]byte{10, 9, 0, 1})})
	return c.Do(b)
}

func del(hostPort, name string) error {
	n, e, _, err := policy(hostPort)
	if err != nil {
		return err
	}
	if err := (firewall.NFTables{}).Del(n, e); err != nil {
		return err
	}
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	b := new(netdev.Batch)
	b.DeleteLink(name)
	return c.Do(b)
}
