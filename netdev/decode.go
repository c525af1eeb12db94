package netdev

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// Sizes of the structs that rtnetlink's messages begin with
// (include/uapi/linux/rtnetlink.h, if_addr.h).
const (
	sizeofIfInfomsg = 16
	sizeofIfAddrmsg = 8
	sizeofRtMsg     = 12
	sizeofRtNexthop = 8
)

func decodeDevice(payload []byte) *Device {
	if len(payload) < sizeofIfInfomsg {
		return nil
	}
	flags := u32(payload[8:])
	d := &Device{
		Index: int(int32(u32(payload[4:]))), LinkNetNS: -1,
		Up: flags&unix.IFF_UP != 0, Promisc: flags&unix.IFF_PROMISC != 0,
		Hardware: binary.NativeEndian.Uint16(payload[2:]), Loopback: flags&unix.IFF_LOOPBACK != 0,
	}
	nlsock.Attrs(payload[sizeofIfInfomsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			d.Name = text(v)
		case unix.IFLA_ADDRESS:
			d.MAC = net.HardwareAddr(slices.Clone(v))
		case unix.IFLA_MTU:
			d.MTU = int(u32(v))
		case unix.IFLA_MASTER:
			d.Master = int(u32(v))
		case unix.IFLA_LINK:
			d.Link = int(u32(v))
		case unix.IFLA_LINK_NETNSID:
			d.LinkNetNS = int(int32(u32(v)))
		case unix.IFLA_IFALIAS:
			d.Alias = text(v)
		case unix.IFLA_GROUP:
			d.Marked = u32(v) == markGroup
		case unix.IFLA_PROMISCUITY:
			d.Promisc = d.Promisc || u32(v) > 0
		case unix.IFLA_LINKINFO:
			d.info(v)
		}
	})
	return d
}

func (d *Device) info(data []byte) {
	var slave string
	nlsock.Attrs(data, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_INFO_KIND:
			d.Kind = text(v)
		case unix.IFLA_INFO_SLAVE_KIND:
			slave = text(v)
		case unix.IFLA_INFO_DATA:
			switch d.Kind {
			case "bridge":
				d.Bridge = decodeBridge(v)
			case "macvlan":
				d.Macvlan = decodeMacvlan(v)
			case "vxlan":
				d.VXLAN = decodeVXLAN(v)
			}
		case unix.IFLA_INFO_SLAVE_DATA:
			if slave == "bridge" {
				d.Port = decodePort(v)
			}
		}
	})
}

func decodeBridge(data []byte) *Bridge {
	b := new(Bridge)
	nlsock.Attrs(data, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_BR_VLAN_FILTERING:
			b.VLANFiltering = len(v) > 0 && v[0] != 0
		case unix.IFLA_BR_VLAN_DEFAULT_PVID:
			b.DefaultPVID = binary.NativeEndian.Uint16(v)
		}
	})
	return b
}

func decodeMacvlan(data []byte) *Macvlan {
	m := new(Macvlan)
	nlsock.Attrs(data, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_MACVLAN_MODE:
			for name, mode := range macvlanModes {
				if mode == u32(v) {
					m.Mode = name
				}
			}
		case unix.IFLA_MACVLAN_BC_QUEUE_LEN:
			m.BCQueueLen = u32(v)
		}
	})
	return m
}

func decodeVXLAN(data []byte) *VXLAN {
	x := new(VXLAN)
	nlsock.Attrs(data, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_VXLAN_ID:
			x.VNI = u32(v)
		case unix.IFLA_VXLAN_PORT:
			if len(v) == 2 {
				x.Port = binary.BigEndian.Uint16(v)
			}
		case unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6:
			x.Local, _ = netip.AddrFromSlice(v)
		case unix.IFLA_VXLAN_LINK:
			x.Underlay = int(u32(v))
		case unix.IFLA_VXLAN_LEARNING:
			x.Learning = len(v) > 0 && v[0] != 0
		}
	})
	return x
}

func decodePort(data []byte) *Port {
	p := new(Port)
	nlsock.Attrs(data, func(typ uint16, v []byte) {
		on := len(v) > 0 && v[0] != 0
		switch typ {
		case unix.IFLA_BRPORT_MODE:
			p.Hairpin = &on
		case unix.IFLA_BRPORT_ISOLATED:
			p.Isolated = &on
		}
	})
	return p
}

// sizeofNdMsg is that of struct ndmsg (include/uapi/linux/neighbour.h).
const sizeofNdMsg = 12

func decodeEntry(payload []byte) (e entry, ok bool) {
	if len(payload) < sizeofNdMsg {
		return e, false
	}
	e.index = int(int32(u32(payload[4:])))
	e.state, e.flags = binary.NativeEndian.Uint16(payload[8:]), payload[10]
	nlsock.Attrs(payload[sizeofNdMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NDA_LLADDR:
			e.mac = v
		case unix.NDA_DST:
			e.dst, _ = netip.AddrFromSlice(v)
		case unix.NDA_MASTER:
			e.master = int(u32(v))
		}
	})
	return e, true
}

func decodeAddr(payload []byte) (a Addr, ok bool) {
	if len(payload) < sizeofIfAddrmsg {
		return a, false
	}
	bits, flags := int(payload[1]), uint32(payload[2])
	var local, address netip.Addr
	nlsock.Attrs(payload[sizeofIfAddrmsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(v)
		case unix.IFA_FLAGS:
			flags = u32(v)
		}
	})
	if !local.IsValid() { // IPv6 has it only where there is a peer
		local = address
	}
	a.Prefix = netip.PrefixFrom(local, bits)
	a.Tentative, a.Failed = flags&unix.IFA_F_TENTATIVE != 0, flags&unix.IFA_F_DADFAILED != 0
	return a, local.IsValid()
}

func decodeRoute(payload []byte) (r Route, ok bool) {
	if len(payload) < sizeofRtMsg {
		return r, false
	}
	dst := netip.IPv4Unspecified()
	if payload[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	r.Scope, r.Table = int(payload[6]), int(payload[4])
	nlsock.Attrs(payload[sizeofRtMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(v)
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(v)
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(v)
		case unix.RTA_PRIORITY:
			r.Priority = int(u32(v))
		case unix.RTA_TABLE:
			r.Table = int(u32(v))
		case unix.RTA_METRICS:
			nlsock.Attrs(v, func(typ uint16, v []byte) {
				switch typ {
				case unix.RTAX_MTU:
					r.MTU = int(u32(v))
				case unix.RTAX_ADVMSS:
					r.AdvMSS = int(u32(v))
				}
			})
		}
	})
	r.Dst = netip.PrefixFrom(dst, int(payload[1]))
	return r, dst.IsValid()
}

func u32(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(v)
}

// text is a string without its terminating zero.
func text(v []byte) string {
	if n := len(v); n > 0 && v[n-1] == 0 {
		v = v[:n-1]
	}
	return string(v)
}
