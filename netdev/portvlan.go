package netdev

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// VLANs is a run of VLANs that a bridge's port is a member of, from First to
// Last.
type VLANs struct {
	First, Last uint16
	Own         bool // what comes untagged belongs to it, and it leaves untagged; of one VLAN only
}

func (v VLANs) String() string {
	text := fmt.Sprint(v.First)
	if v.Last != v.First {
		text = fmt.Sprintf("%d-%d", v.First, v.Last)
	}
	if v.Own {
		text += " untagged"
	}
	return text
}

// Attributes and flags of bridge VLANs (include/uapi/linux/if_bridge.h).
const (
	iflaBridgeVLANInfo = 2 // IFLA_BRIDGE_VLAN_INFO
	vlanPVID           = 1 << 1
	vlanUntagged       = 1 << 2
	vlanRangeBegin     = 1 << 3
	vlanRangeEnd       = 1 << 4
)

// AddPortVLANs makes a bridge's port a member of VLANs, in this order: a
// later run says how a VLAN of an earlier one leaves.
func (b *Batch) AddPortVLANs(port int, vlans ...VLANs) {
	b.portVLANs(unix.RTM_SETLINK, fmt.Sprintf("make port %d a member of VLANs %v", port, vlans), port, vlans)
}

// DeletePortVLANs ends memberships.
func (b *Batch) DeletePortVLANs(port int, vlans ...VLANs) {
	b.portVLANs(unix.RTM_DELLINK, fmt.Sprintf("end membership of port %d in VLANs %v", port, vlans), port, vlans)
}

func (b *Batch) portVLANs(typ uint16, what string, port int, vlans []VLANs) {
	b.Message(typ, 0, what)
	header(&b.Batch, unix.AF_BRIDGE, port, 0, 0)
	spec := b.Nest(unix.IFLA_AF_SPEC)
	for _, v := range vlans {
		var flags uint16
		if v.Own {
			flags = vlanPVID | vlanUntagged
		}
		if v.First == v.Last {
			b.vlanInfo(flags, v.First)
			continue
		}
		b.vlanInfo(flags|vlanRangeBegin, v.First)
		b.vlanInfo(flags|vlanRangeEnd, v.Last)
	}
	b.End(spec)
}

// vlanInfo is struct bridge_vlan_info.
func (b *Batch) vlanInfo(flags, id uint16) {
	info := binary.NativeEndian.AppendUint16(nil, flags)
	b.Bytes(iflaBridgeVLANInfo, binary.NativeEndian.AppendUint16(info, id))
}

// PortVLANs lists the VLANs of one bridge's port, in order, with the kernel's
// own runs. It needs Linux 5.6, which can be asked for one port.
func (c *Conn) PortVLANs(port int) (vlans []VLANs, err error) {
	var b nlsock.Batch
	b.Message(unix.RTM_GETVLAN, unix.NLM_F_DUMP, fmt.Sprintf("list VLANs of port %d", port))
	b.U8(unix.AF_BRIDGE) // struct br_vlan_msg
	b.Zeros(3)
	b.U32(uint32(port))
	failed, err := c.sock.Do(&b, func(_ int, typ uint16, payload []byte) {
		if typ == unix.RTM_NEWVLAN && len(payload) >= sizeofVLANMsg {
			vlans = append(vlans, decodeVLANs(payload[sizeofVLANMsg:])...)
		}
	})
	if err == nil && len(failed) > 0 {
		err = failed[0]
	}
	return vlans, err
}

const (
	sizeofVLANMsg    = 8 // struct br_vlan_msg
	vlanDBEntry      = 1 // BRIDGE_VLANDB_ENTRY
	vlanDBEntryInfo  = 1 // BRIDGE_VLANDB_ENTRY_INFO
	vlanDBEntryRange = 2 // BRIDGE_VLANDB_ENTRY_RANGE
)

func decodeVLANs(data []byte) (vlans []VLANs) {
	nlsock.Attrs(data, func(typ uint16, entry []byte) {
		if typ != vlanDBEntry {
			return
		}
		var v VLANs
		nlsock.Attrs(entry, func(typ uint16, value []byte) {
			switch {
			case typ == vlanDBEntryInfo && len(value) >= 4:
				v.First = binary.NativeEndian.Uint16(value[2:])
				v.Last = max(v.First, v.Last)
				v.Own = binary.NativeEndian.Uint16(value)&vlanPVID != 0
			case typ == vlanDBEntryRange && len(value) >= 2:
				v.Last = binary.NativeEndian.Uint16(value)
			}
		})
		vlans = append(vlans, v)
	})
	return vlans
}
