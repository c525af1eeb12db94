package firewall

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
	"github.com/berth-net/berth/plugins"
)

// FlushUDP makes the kernel forget the UDP flows to the published ports. A
// flow that began before the port was published, or while another container
// had it, would go on to where it went: UDP has no end that would part it.
// The kernel picks them by host address, host port and protocol, in one
// request each (CTA_FILTER, since Linux 5.8).
func FlushUDP(ports []plugins.PortMapping) error {
	b := new(nlsock.Batch)
	for i := range ports {
		m := &ports[i]
		if m.Protocol != "udp" {
			continue
		}
		for _, is4 := range []bool{true, false} {
			if m.HostIP.IsValid() && m.HostIP.Is4() != is4 {
				continue
			}
			for j := range count(m) {
				flushFlow(b, m, is4, m.HostPort+j)
			}
		}
	}
	if b.Len() == 0 {
		return nil
	}
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	failed, err := c.Do(b, nil)
	if err != nil {
		return err
	}
	for _, f := range failed {
		if f.Errno != unix.ENOENT {
			return f
		}
	}
	return nil
}

// Attributes of ctnetlink, include/uapi/linux/netfilter/nfnetlink_conntrack.h,
// and flags of its filter, net/netfilter/nf_conntrack_netlink.c.
const (
	ctDelete        = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
	ctaTupleOrig    = 1
	ctaFilter       = 25
	ctaFilterOrig   = 1
	ctaTupleIP      = 1
	ctaTupleProto   = 2
	ctaIPv4Dst      = 2
	ctaIPv6Dst      = 4
	ctaProtoNum     = 1
	ctaProtoDstPort = 3

	filterIPDst        = 1 << 1
	filterProtoNum     = 1 << 3
	filterProtoDstPort = 1 << 5
)

func flushFlow(b *nlsock.Batch, m *plugins.PortMapping, is4 bool, port uint16) {
	family := uint8(unix.AF_INET6)
	if is4 {
		family = unix.AF_INET
	}
	b.Message(ctDelete, 0, fmt.Sprintf("forget flows to %s", hostPort(m, port)))
	b.U8(family)
	b.U8(1) // a version above 0 limits the flush to the family
	b.U16(0)
	flags := uint32(filterProtoNum | filterProtoDstPort)
	tuple := b.Nest(ctaTupleOrig)
	if m.HostIP.IsValid() && !m.HostIP.IsUnspecified() {
		flags |= filterIPDst
		addFilterAddr(b, m.HostIP)
	}
	proto := b.Nest(ctaTupleProto)
	b.Uint8(ctaProtoNum, unix.IPPROTO_UDP)
	b.BE16(ctaProtoDstPort, port)
	b.End(proto)
	b.End(tuple)
	filter := b.Nest(ctaFilter)
	b.Uint32(ctaFilterOrig, flags)
	b.End(filter)
}

func addFilterAddr(b *nlsock.Batch, a netip.Addr) {
	typ := uint16(ctaIPv6Dst)
	if a.Is4() {
		typ = ctaIPv4Dst
	}
	ip := b.Nest(ctaTupleIP)
	b.Bytes(typ, a.AsSlice())
	b.End(ip)
}
