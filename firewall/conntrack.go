package firewall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
	"github.com/berth-net/berth/plugins"
)

// FlushUDP makes the kernel forget the UDP flows to the published ports. A
// flow that began before the port was published, or while another container
// had it, would go on to where it went: UDP has no end that would part it.
func FlushUDP(ports []plugins.PortMapping) error {
	all := flowsTo(ports)
	if len(all) == 0 {
		return nil
	}
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	b := new(nlsock.Batch)
	for i := range all {
		all[i].request(b, ctDelete, 0, "forget")
	}
	err = forgotten(c.Do(b, nil))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return forgetListed(c, all)
	}
	return err
}

// forgotten passes over flows that have ended.
func forgotten(failed []*nlsock.Error, err error) error {
	for _, f := range failed {
		if err == nil && f.Errno != unix.ENOENT {
			err = f
		}
	}
	return err
}

// flows are those of UDP to a port of one of the host's addresses, or of all of
// a family.
type flows struct {
	is4  bool
	to   netip.Addr // not valid: any
	port uint16
	what string
}

func flowsTo(ports []plugins.PortMapping) (all []flows) {
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
				f := flows{is4: is4, port: m.HostPort + j, what: "flows to " + hostPort(m, m.HostPort+j)}
				if m.HostIP.IsValid() && !m.HostIP.IsUnspecified() {
					f.to = m.HostIP
				}
				all = append(all, f)
			}
		}
	}
	return all
}

// Attributes of ctnetlink, include/uapi/linux/netfilter/nfnetlink_conntrack.h,
// and flags of its filter, net/netfilter/nf_conntrack_netlink.c.
const (
	ctGet           = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	ctDelete        = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
	ctaTupleOrig    = 1
	ctaZone         = 18
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

// request has the kernel pick the flows by itself: to list them since Linux
// 5.8, to delete them since 6.11 (CTA_FILTER).
func (f *flows) request(b *nlsock.Batch, typ, flags uint16, verb string) {
	b.Message(typ, flags, verb+" "+f.what)
	f.header(b, 1) // a version above 0 limits a deletion to the family
	picks := uint32(filterProtoNum | filterProtoDstPort)
	tuple := b.Nest(ctaTupleOrig)
	if f.to.IsValid() {
		picks |= filterIPDst
		ip := b.Nest(ctaTupleIP)
		b.Bytes(f.dstAttribute(), f.to.AsSlice())
		b.End(ip)
	}
	proto := b.Nest(ctaTupleProto)
	b.Uint8(ctaProtoNum, unix.IPPROTO_UDP)
	b.BE16(ctaProtoDstPort, f.port)
	b.End(proto)
	b.End(tuple)
	filter := b.Nest(ctaFilter)
	b.Uint32(ctaFilterOrig, picks)
	b.End(filter)
}

// header is struct nfgenmsg.
func (f *flows) header(b *nlsock.Batch, version uint8) {
	family := uint8(unix.AF_INET6)
	if f.is4 {
		family = unix.AF_INET
	}
	b.U8(family)
	b.U8(version)
	b.U16(0)
}

func (f *flows) dstAttribute() uint16 {
	if f.is4 {
		return ctaIPv4Dst
	}
	return ctaIPv6Dst
}

// has looks at what a flow began as. A kernel that does not know the filter
// lists all flows.
func (f *flows) has(tuple []byte) bool {
	proto := attribute(tuple, ctaTupleProto)
	number, port := attribute(proto, ctaProtoNum), attribute(proto, ctaProtoDstPort)
	if !bytes.Equal(number, []byte{unix.IPPROTO_UDP}) || !bytes.Equal(port, binary.BigEndian.AppendUint16(nil, f.port)) {
		return false
	}
	to, _ := netip.AddrFromSlice(attribute(attribute(tuple, ctaTupleIP), f.dstAttribute()))
	return to.IsValid() && (!f.to.IsValid() || f.to == to)
}

// forgetListed is for kernels that delete a flow only by all that it is known
// by.
func forgetListed(c *nlsock.Conn, all []flows) error {
	for i := range all {
		f, list, del := &all[i], new(nlsock.Batch), new(nlsock.Batch)
		f.request(list, ctGet, unix.NLM_F_DUMP, "list")
		_, err := c.Do(list, func(_ int, _ uint16, payload []byte) {
			attrs := payload[min(4, len(payload)):]
			tuple := attribute(attrs, ctaTupleOrig)
			if !f.has(tuple) {
				return
			}
			del.Message(ctDelete, 0, "forget "+f.what)
			f.header(del, 0)
			del.Bytes(ctaTupleOrig|unix.NLA_F_NESTED, tuple)
			if zone := attribute(attrs, ctaZone); zone != nil {
				del.Bytes(ctaZone, zone)
			}
		})
		if err == nil {
			err = forgotten(c.Do(del, nil))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
