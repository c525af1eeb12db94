package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// Batch collects requests for Conn.Do. The zero value is empty and ready.
type Batch struct {
	nlsock.Batch
	success map[int]unix.Errno // the error that is none, by request
}

// Reset empties the batch.
func (b *Batch) Reset() {
	b.Batch.Reset()
	clear(b.success)
}

// tolerate makes an error a success of the message that is open.
func (b *Batch) tolerate(errno unix.Errno) {
	if b.success == nil {
		b.success = make(map[int]unix.Errno)
	}
	b.success[b.Len()-1] = errno
}

// header is struct ifinfomsg.
func header(b *nlsock.Batch, family uint8, index int, flags, change uint32) {
	b.U8(family)
	b.Zeros(3)
	b.U32(uint32(index))
	b.U32(flags)
	b.U32(change)
}

// Veth is a pair to be made: one end here, the other in another namespace
// from the start, so that nothing is ever moved or renamed. Both ends are
// down.
type Veth struct {
	Name     string
	MAC      net.HardwareAddr
	Master   int // index of the bridge that Name becomes a port of; 0: none
	MTU      int // 0: the kernel's
	PeerName string
	PeerMAC  net.HardwareAddr
	PeerNS   int // file descriptor; 0: the peer is here too
}

// AddVeth makes a veth pair.
func (b *Batch) AddVeth(v *Veth) {
	b.Message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fmt.Sprintf("create veth %s with peer %s", v.Name, v.PeerName))
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.endpoint(v.Name, v.MAC, v.MTU)
	b.oneQueue()
	if v.Master != 0 {
		b.Uint32(unix.IFLA_MASTER, uint32(v.Master))
	}
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, "veth")
	data := b.Nest(unix.IFLA_INFO_DATA)
	peer := b.Nest(vethInfoPeer)
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.endpoint(v.PeerName, v.PeerMAC, v.MTU)
	b.oneQueue()
	if v.PeerNS != 0 {
		b.Uint32(unix.IFLA_NET_NS_FD, uint32(v.PeerNS))
	}
	b.End(peer)
	b.End(data)
	b.End(info)
}

// oneQueue is what a veth device uses unless told otherwise. Left unsaid, the
// kernel makes as many as there are CPUs and then turns the others off, which
// waits for a grace period of RCU with the lock of all devices held
// (veth_init_queues, drivers/net/veth.c).
func (b *Batch) oneQueue() {
	b.Uint32(unix.IFLA_NUM_TX_QUEUES, 1)
	b.Uint32(unix.IFLA_NUM_RX_QUEUES, 1)
}

// vethInfoPeer is VETH_INFO_PEER of include/uapi/linux/veth.h.
const vethInfoPeer = 1

func (b *Batch) endpoint(name string, mac net.HardwareAddr, mtu int) {
	b.String(unix.IFLA_IFNAME, name)
	if mac != nil {
		b.Bytes(unix.IFLA_ADDRESS, mac)
	}
	if mtu != 0 {
		b.Uint32(unix.IFLA_MTU, uint32(mtu))
	}
}

// Port is what a bridge's port may be told. A nil field stays as it is.
type Port struct {
	Hairpin  *bool // frames may leave by the port they came in by
	Isolated *bool // no frames between this and other isolated ports
}

// LinkChange is a change of a device that is there.
type LinkChange struct {
	Alias   string // empty: as it is
	Up      bool   // false: as it is
	MTU     int    // 0: as it is
	Master  int    // index of the bridge that it becomes a port of; 0: as it is
	MAC     net.HardwareAddr
	Promisc bool // false: as it is
	NoARP   bool // neighbours have the device's own MAC; false: as it is
	Notify  bool // announce IPv4 addresses by ARP as they come up (arp_notify)
	Local   bool // route loopback addresses through it (route_localnet)
	Port    Port
}

// ChangeLink changes the device of that name. What it is told is done in the
// order of the kernel's do_setlink: the MAC and MTU before it comes up.
func (b *Batch) ChangeLink(name string, c LinkChange) {
	var flags uint32
	if c.Up {
		flags |= unix.IFF_UP
	}
	if c.Promisc {
		flags |= unix.IFF_PROMISC
	}
	if c.NoARP {
		flags |= unix.IFF_NOARP
	}
	b.Message(unix.RTM_NEWLINK, 0, "change link "+name)
	header(&b.Batch, unix.AF_UNSPEC, 0, flags, flags)
	b.endpoint(name, c.MAC, c.MTU)
	if c.Master != 0 {
		b.Uint32(unix.IFLA_MASTER, uint32(c.Master))
	}
	if c.Alias != "" {
		b.Bytes(unix.IFLA_IFALIAS, []byte(c.Alias))
	}
	b.inet4Conf(c)
	b.port(c.Port)
}

// Quiet keeps a device that is only a bridge's port from having a link-local
// address (IN6_ADDR_GEN_MODE_NONE): it speaks no IP of its own. A kernel
// without IPv6 need not be kept from it.
func (b *Batch) Quiet(name string) {
	b.Message(unix.RTM_NEWLINK, 0, "take IPv6 from link "+name)
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	spec := b.Nest(unix.IFLA_AF_SPEC)
	inet := b.Nest(unix.AF_INET6)
	b.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, 1)
	b.End(inet)
	b.End(spec)
	b.tolerate(unix.EAFNOSUPPORT)
}

// inet4Conf sets settings of net/ipv4/conf/DEVICE, whose attributes are
// numbered as in include/uapi/linux/ip.h. Of IPv6's this is possible with
// addr_gen_mode only.
func (b *Batch) inet4Conf(c LinkChange) {
	if !c.Notify && !c.Local {
		return
	}
	spec := b.Nest(unix.IFLA_AF_SPEC)
	inet := b.Nest(unix.AF_INET)
	conf := b.Nest(iflaInetConf)
	if c.Notify {
		b.Uint32(devconfARPNotify, 1)
	}
	if c.Local {
		b.Uint32(devconfRouteLocalnet, 1)
	}
	b.End(conf)
	b.End(inet)
	b.End(spec)
}

const (
	iflaInetConf         = 1  // IFLA_INET_CONF
	devconfARPNotify     = 22 // IPV4_DEVCONF_ARP_NOTIFY
	devconfRouteLocalnet = 26 // IPV4_DEVCONF_ROUTE_LOCALNET
)

func (b *Batch) port(p Port) {
	if p.Hairpin == nil && p.Isolated == nil {
		return
	}
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_SLAVE_KIND, "bridge")
	data := b.Nest(unix.IFLA_INFO_SLAVE_DATA)
	b.flag(unix.IFLA_BRPORT_MODE, p.Hairpin)
	b.flag(unix.IFLA_BRPORT_ISOLATED, p.Isolated)
	b.End(data)
	b.End(info)
}

func (b *Batch) flag(typ uint16, v *bool) {
	switch {
	case v == nil:
	case *v:
		b.Uint8(typ, 1)
	default:
		b.Uint8(typ, 0)
	}
}

// RenameLink gives a device another name. It must be down, before Linux 6.2.
func (b *Batch) RenameLink(index int, name string) {
	b.Message(unix.RTM_NEWLINK, 0, fmt.Sprintf("rename link %d to %s", index, name))
	header(&b.Batch, unix.AF_UNSPEC, index, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
}

// FilterVLANs makes a bridge that is there tell VLANs apart.
func (b *Batch) FilterVLANs(name string) {
	b.Message(unix.RTM_NEWLINK, 0, "let bridge "+name+" filter VLANs")
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, "bridge")
	data := b.Nest(unix.IFLA_INFO_DATA)
	b.Uint8(unix.IFLA_BR_VLAN_FILTERING, 1)
	b.End(data)
	b.End(info)
}

// DeleteLink removes a device by name.
func (b *Batch) DeleteLink(name string) {
	b.Message(unix.RTM_DELLINK, 0, "delete link "+name)
	header(&b.Batch, unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
}

// AddAddr gives a device an address. Without detect an IPv6 address is usable
// at once: it comes from an allocator that gives each only once, and duplicate
// address detection would delay the container by a second.
func (b *Batch) AddAddr(index int, p netip.Prefix, detect bool) {
	b.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, "add address "+p.String(), index, p, unix.RT_SCOPE_UNIVERSE)
	if p.Addr().Is6() && !detect {
		b.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	}
}

// EnsureAddr is AddAddr for an address that may be there already.
func (b *Batch) EnsureAddr(index int, p netip.Prefix) {
	b.AddAddr(index, p, false)
	b.tolerate(unix.EEXIST)
}

// AddAlias gives a device a single address that the host has on another
// device too, without a route of its own (IFA_F_NOPREFIXROUTE). One that is
// there is success.
func (b *Batch) AddAlias(index int, addr netip.Addr) {
	b.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, "add address "+addr.String(), index, netip.PrefixFrom(addr, addr.BitLen()), unix.RT_SCOPE_UNIVERSE)
	b.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE)
	b.tolerate(unix.EEXIST)
}

// EnsureHostAddr gives a device an address that the host does not send from
// (RT_SCOPE_HOST), and that may be there already.
func (b *Batch) EnsureHostAddr(index int, p netip.Prefix) {
	b.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, "add address "+p.String(), index, p, unix.RT_SCOPE_HOST)
	b.tolerate(unix.EEXIST)
}

// DeleteAddr takes an address away. One that is not there is success.
func (b *Batch) DeleteAddr(index int, p netip.Prefix) {
	b.address(unix.RTM_DELADDR, 0, "delete address "+p.String(), index, p, unix.RT_SCOPE_UNIVERSE)
	b.tolerate(unix.EADDRNOTAVAIL)
}

func (b *Batch) address(typ, flags uint16, what string, index int, p netip.Prefix, scope uint8) {
	b.Message(typ, flags, what)
	b.U8(family(p.Addr()))
	b.U8(uint8(p.Bits()))
	b.U8(0) // flags
	b.U8(scope)
	b.U32(uint32(index))
	b.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
	b.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
	if p.Addr().Is4() && p.Bits() < 31 {
		b.Bytes(unix.IFA_BROADCAST, broadcast(p))
	}
}

func broadcast(p netip.Prefix) []byte {
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 1 << (7 - i%8)
	}
	return a[:]
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// AddRoute adds a route through a device. One that is there is success.
func (b *Batch) AddRoute(index int, r Route) {
	scope := uint8(r.Scope)
	if r.Scope == 0 && !r.Gateway.IsValid() && r.Dst.Addr().Is4() {
		scope = unix.RT_SCOPE_LINK
	}
	b.route(unix.RTN_UNICAST, index, r, scope)
	b.tolerate(unix.EEXIST)
}

// AddLocalRoute makes an address one of this host's own for what comes in by
// a device.
func (b *Batch) AddLocalRoute(index int, p netip.Prefix, priority int) {
	b.route(unix.RTN_LOCAL, index, Route{Dst: p, Table: unix.RT_TABLE_LOCAL, Priority: priority}, unix.RT_SCOPE_HOST)
	b.tolerate(unix.EEXIST)
}

// PassLoopback has a device that is up route loopback addresses, as published
// ports need that the host asks for there. Of IPv4 that is a setting of the
// device; IPv6 has none, but takes a route, unless WithoutIPv6.
func (b *Batch) PassLoopback(dev *Device) {
	b.ChangeLink(dev.Name, LinkChange{Local: true})
	b.AddLocalRoute(dev.Index, netip.PrefixFrom(netip.IPv6Loopback(), 128), dev.Index)
}

// WithoutIPv6 tells the errors of a route of IPv6 through a device that has
// none.
func WithoutIPv6(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}

// DeleteRoute removes the route to dst through a device. One that is not
// there is success.
func (b *Batch) DeleteRoute(index int, dst netip.Prefix) {
	b.Message(unix.RTM_DELROUTE, 0, "delete route to "+dst.String())
	b.U8(family(dst.Addr())) // struct rtmsg
	b.U8(uint8(dst.Bits()))
	b.Zeros(2)
	b.U8(unix.RT_TABLE_MAIN)
	b.U8(unix.RTPROT_UNSPEC)
	b.U8(unix.RT_SCOPE_NOWHERE) // any (fib_table_delete, net/ipv4/fib_trie.c)
	b.Zeros(5)
	b.Uint32(unix.RTA_OIF, uint32(index))
	b.Bytes(unix.RTA_DST, dst.Addr().AsSlice())
	b.tolerate(unix.ESRCH)
}

func (b *Batch) route(kind uint8, index int, r Route, scope uint8) {
	table := r.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	b.Message(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, "add route to "+r.Dst.String())
	b.U8(family(r.Dst.Addr())) // struct rtmsg
	b.U8(uint8(r.Dst.Bits()))
	b.Zeros(2)
	b.U8(unix.RT_TABLE_UNSPEC) // in RTA_TABLE, which has room for all
	b.U8(unix.RTPROT_BOOT)
	b.U8(scope)
	b.U8(kind)
	b.U32(0)
	b.Uint32(unix.RTA_TABLE, uint32(table))
	b.Uint32(unix.RTA_OIF, uint32(index))
	if r.Dst.Bits() > 0 {
		b.Bytes(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice())
	}
	if r.Gateway.IsValid() {
		b.Bytes(unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if r.Source.IsValid() {
		b.Bytes(unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	if r.Priority != 0 {
		b.Uint32(unix.RTA_PRIORITY, uint32(r.Priority))
	}
	b.metrics(r)
}

func (b *Batch) metrics(r Route) {
	if r.MTU == 0 && r.AdvMSS == 0 {
		return
	}
	m := b.Nest(unix.RTA_METRICS)
	if r.MTU != 0 {
		b.Uint32(unix.RTAX_MTU, uint32(r.MTU))
	}
	if r.AdvMSS != 0 {
		b.Uint32(unix.RTAX_ADVMSS, uint32(r.AdvMSS))
	}
	b.End(m)
}
