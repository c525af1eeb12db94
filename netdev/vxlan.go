package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrVXLANInUse says that another device has the VNI on the same UDP port:
// the kernel could not tell which of them a packet is for.
var ErrVXLANInUse = errors.New("VXLAN network identifier is in use")

// VXLAN is a VXLAN device (RFC 7348).
type VXLAN struct {
	Name     string
	Alias    string
	VNI      uint32 // 1 to 2^24-1
	Port     uint16 // UDP, of this end and of the peers
	Local    netip.Addr
	Underlay int // index of the device that packets leave by; 0: as routed
	MAC      net.HardwareAddr
	MTU      int
	Learning bool // remember behind which peer a source MAC is
}

// AddVXLAN makes the device, down and without a master. It fails with
// ErrVXLANInUse and the name of the other device where the VNI is taken on
// that port.
func (h *Handle) AddVXLAN(v VXLAN) (Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Alias, attrs.HardwareAddr, attrs.MTU = v.Name, v.Alias, v.MAC, v.MTU
	link := &netlink.Vxlan{
		LinkAttrs: attrs,
		VxlanId:   int(v.VNI), Port: int(v.Port), SrcAddr: v.Local.AsSlice(), VtepDevIndex: v.Underlay,
		Learning: v.Learning, UDPCSum: true,
	}
	err := h.nl.LinkAdd(link)
	if err == nil {
		return h.Link(v.Name)
	}
	err = fmt.Errorf("create VXLAN device %s: %w", v.Name, err)
	if errors.Is(err, unix.EEXIST) {
		if other := h.vxlanWith(v.VNI, v.Port); other != "" && other != v.Name {
			return nil, fmt.Errorf("create VXLAN device %s: VNI %d on UDP port %d belongs to device %s: %w", v.Name, v.VNI, v.Port, other, ErrVXLANInUse)
		}
	}
	return nil, err
}

// SetVXLANUp brings the device up. The kernel binds the UDP port only now; it
// fails with ErrVXLANInUse where another program or a VXLAN device of another
// kind (external, GPE) has it.
func (h *Handle) SetVXLANUp(link Link, port uint16) error {
	err := h.SetUp(link)
	if !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	owner := "another program"
	if other := h.vxlanWith(0, port); other != "" {
		owner = "VXLAN device " + other
	}
	return fmt.Errorf("set link %s up: UDP port %d belongs to %s: %w", link.Attrs().Name, port, owner, ErrVXLANInUse)
}

// vxlanWith names the device that has the VNI on the port, or that serves
// every VNI of the port. It is for error messages: a failure finds nothing.
func (h *Handle) vxlanWith(vni uint32, port uint16) string {
	links, err := h.Links()
	if err != nil {
		return ""
	}
	for _, l := range links {
		v, ok := l.(*netlink.Vxlan)
		if ok && v.Port == int(port) && (v.FlowBased || v.VxlanId == int(vni)) {
			return v.Name
		}
	}
	return ""
}

// BridgePort says how a bridge treats one of its ports.
type BridgePort struct {
	Learning      bool // from the source addresses of frames that come in
	Flood         bool // send unknown unicast, multicast and broadcast frames out
	NeighSuppress bool // answer ARP and ND for neighbours the host knows instead of flooding (Linux 4.15)
	Isolated      bool // no frames to other isolated ports (Linux 4.18)
	Hairpin       bool // send frames back out where they came in
}

// SetBridgePort sets the flags of a device that has a bridge as master.
func (h *Handle) SetBridgePort(link Link, p BridgePort) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(link.Attrs().Index)
	req.AddData(msg)
	flags := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	for attr, on := range map[int]bool{
		nl.IFLA_BRPORT_LEARNING:       p.Learning,
		nl.IFLA_BRPORT_UNICAST_FLOOD:  p.Flood,
		nl.IFLA_BRPORT_MCAST_FLOOD:    p.Flood,
		nl.IFLA_BRPORT_BCAST_FLOOD:    p.Flood,
		nl.IFLA_BRPORT_NEIGH_SUPPRESS: p.NeighSuppress,
		nl.IFLA_BRPORT_ISOLATED:       p.Isolated,
		nl.IFLA_BRPORT_MODE:           p.Hairpin,
	} {
		flags.AddRtAttr(attr, []byte{boolByte(on)})
	}
	req.AddData(flags)
	if err := h.execute(req); err != nil {
		return fmt.Errorf("set bridge port flags of %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// execute sends a request that the library has no method for. The library
// opens a socket for it in the thread's namespace.
func (h *Handle) execute(req *nl.NetlinkRequest) error {
	return h.inside(func() error {
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
