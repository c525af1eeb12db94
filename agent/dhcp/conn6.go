package dhcp

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"
)

// listen6 opens the client's port on the device's link-local address, in the
// thread's namespace. The zone is a number: package net remembers the indices
// of names for a minute, and they are another namespace's by now.
func listen6(ifname string) (net.PacketConn, error) {
	dev, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("find device %s: %w", ifname, err)
	}
	addr, err := dhcpv6.GetLinkLocalAddr(ifname)
	if err != nil {
		return nil, fmt.Errorf("find link-local address of %s: %w", ifname, err)
	}
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: addr, Port: dhcpv6.DefaultClientPort, Zone: strconv.Itoa(dev.Index)})
	if err != nil {
		return nil, err
	}
	return lossyConn{conn}, nil
}

// lossyConn loses what the kernel has no neighbour for, as a wire loses
// frames: the client sends it again. The table of neighbours is one for all
// namespaces (net.ipv6.neigh.default.gc_thresh3), has an entry for each
// multicast group as well, and is full for seconds when many containers start.
// ip6_finish_output2 of net/ipv6/ip6_output.c says EINVAL then.
type lossyConn struct{ net.PacketConn }

func (c lossyConn) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := c.PacketConn.WriteTo(b, to)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOBUFS) {
		return len(b), nil
	}
	return n, err
}
