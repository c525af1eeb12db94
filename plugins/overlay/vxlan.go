package overlay

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// segment is this host's part of a network's Ethernet segment.
type segment struct {
	*Config
	host     *netdev.Conn
	dev      *netdev.Handle // while the devices are made
	gateways []netip.Prefix
}

// mark is the alias of a finished VXLAN device. It changes with whatever the
// device was made from, so that an Add sees at one glance whether the device
// is what the configuration asks for.
func (s *segment) mark() string {
	sum := sha256.Sum256(fmt.Append(nil, s.ControlPlane, s.VNI, s.Port, s.Peers, s.Underlay, s.Local, s.MTU, s.Bridge, s.gateways, s.Encrypted, s.Checksums))
	return fmt.Sprintf("%s%s vxlan %x", netdev.AliasPrefix, s.network, sum[:6])
}

func (s *segment) sealed() firewall.Sealed {
	return firewall.Sealed{Device: s.mesh(), Port: s.Port, VNI: s.VNI}
}

func (s *segment) anycast() firewall.Anycast {
	return firewall.Anycast{Port: s.vxlanName(), MAC: gatewayMAC(s.VNI), Gateways: addrsOf(s.gateways)}
}

// finished finds the VXLAN device where it stands as the configuration says,
// and the bridge above it.
func (s *segment) finished() (bridge, vxlan *netdev.Device, err error) {
	if vxlan, err = s.host.Device(s.vxlanName()); err != nil {
		return nil, nil, err
	}
	if vxlan.Alias == s.mark() {
		if bridge, sound := s.sound(vxlan); sound {
			return bridge, vxlan, nil
		}
	}
	return nil, nil, fmt.Errorf("VXLAN device %s: %w as configured", s.vxlanName(), netdev.ErrNotFound)
}

// sound tells whether the VXLAN device and the bridge above it are as they
// were made: up, with their MACs (udevd's MACAddressPolicy gives devices
// others), and with an address that the host has. It returns the bridge.
func (s *segment) sound(vxlan *netdev.Device) (bridge *netdev.Device, ok bool) {
	if vxlan.VXLAN == nil || vxlan.Master == 0 || !s.isLocal(vxlan.VXLAN.Local) {
		return nil, false
	}
	bridge, err := s.host.DeviceByIndex(vxlan.Master)
	return bridge, err == nil && upWith(bridge, gatewayMAC(s.VNI)) && upWith(vxlan, vtepMAC(s.VNI, vxlan.VXLAN.Local))
}

func upWith(dev *netdev.Device, mac net.HardwareAddr) bool {
	return dev.Up && bytes.Equal(dev.MAC, mac)
}

// isLocal tells whether the host still has the address that the device sends
// from: an uplink's may change.
func (s *segment) isLocal(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	path, err := s.host.PathTo(a)
	return err == nil && path.Local
}

// connect makes the VXLAN device a port of bridge. Repeating it mends what
// differs; the alias is set last, so a crash on the way leaves no mark.
func (s *segment) connect(bridge netdev.Link, p *place) error {
	if s.Encrypted { // before there is a device that could send
		if err := firewall.Seal(s.sealed()); err != nil {
			return err
		}
	}
	if err := firewall.KeepGateway(s.anycast()); err != nil {
		return err
	}
	vxlan, err := s.device(p)
	if err != nil {
		return err
	}
	// A VTEP is no interface of the host: it needs no address of its own.
	if err := s.dev.SetSysctl("ipv6/conf/"+s.vxlanName()+"/disable_ipv6", "1"); err != nil {
		return err
	}
	if err := s.dev.SetMaster(vxlan, bridge); err != nil {
		return err
	}
	if err := s.dev.SetBridgePort(vxlan, s.portFlags()); err != nil {
		return err
	}
	if err := s.replicateTo(vxlan, p.peers); err != nil {
		return err
	}
	// With auto it is the agent's to turn off.
	if err := s.dev.SetChecksumOffload(vxlan, s.Checksums != OffloadOff); err != nil {
		return err
	}
	if err := s.dev.SetVXLANUp(vxlan, s.Port); err != nil {
		return refuseClash(err)
	}
	return s.dev.SetAlias(vxlan, s.mark())
}

// isUnnamed tells whether a device without an alias is one of ours: the kernel
// takes the alias after it has made the device (do_setlink), so a kill between
// the two leaves one. Its MAC, which is given as it is made, tells.
func (s *segment) isUnnamed(link netdev.Link) bool {
	v, ok := link.(*netlink.Vxlan)
	if !ok || v.Alias != "" || v.VxlanId != int(s.VNI) {
		return false
	}
	local, ok := netip.AddrFromSlice(v.SrcAddr)
	return ok && bytes.Equal(v.HardwareAddr, vtepMAC(s.VNI, local.Unmap()))
}

// portFlags: static hosts do not know each other's containers and so must ask
// and learn; the other control planes say exactly who is where. EVPN has hosts
// that are not berth's, whose endpoints may be silent until they are asked:
// what nobody has told of is flooded there (RFC 7432, section 11).
func (s *segment) portFlags() netdev.BridgePort {
	if s.ControlPlane == Static {
		return netdev.BridgePort{Learning: true, Flood: true}
	}
	return netdev.BridgePort{NeighSuppress: true, Flood: s.ControlPlane == EVPN}
}

// device finds the VXLAN device or makes it, also anew where the one that is
// there differs in what cannot be changed.
func (s *segment) device(p *place) (netdev.Link, error) {
	want := netdev.VXLAN{
		Name: s.vxlanName(), VNI: s.VNI, Port: s.Port, Local: p.local, MTU: p.mtu,
		MAC: vtepMAC(s.VNI, p.local), Learning: s.ControlPlane == Static,
		Alias: netdev.AliasPrefix + s.network + " vxlan",
	}
	if p.bind {
		want.Underlay = p.underlay.Attrs().Index
	}
	old, err := s.dev.Link(want.Name)
	switch {
	case errors.Is(err, netdev.ErrNotFound):
	case err != nil:
		return nil, err
	case !strings.HasPrefix(old.Attrs().Alias, netdev.AliasPrefix) && !s.isUnnamed(old):
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "create VXLAN device %s: a device of that name exists and is not berth's", want.Name)
	case same(old, want):
		return old, s.dev.SetMTU(old, p.mtu)
	default:
		if err := s.dev.DeleteLink(want.Name); err != nil {
			return nil, err
		}
	}
	vxlan, err := s.dev.AddVXLAN(want)
	return vxlan, refuseClash(err)
}

func same(old netdev.Link, want netdev.VXLAN) bool {
	v, ok := old.(*netlink.Vxlan)
	if !ok {
		return false
	}
	local, _ := netip.AddrFromSlice(v.SrcAddr)
	return v.VxlanId == int(want.VNI) && v.Port == int(want.Port) && local.Unmap() == want.Local &&
		v.VtepDevIndex == want.Underlay && v.Learning == want.Learning && v.HardwareAddr.String() == want.MAC.String()
}

// refuseClash: a clash with someone else's device is the operator's to
// resolve, by another VNI or port.
func refuseClash(err error) error {
	if errors.Is(err, netdev.ErrVXLANInUse) {
		return plugins.Errorf(plugins.CodeInvalidConfig, "%w; choose another vni or port", err)
	}
	return err
}

// replicateTo sends what has no entry of its own to every peer (head-end
// replication), and no longer to who is no peer.
func (s *segment) replicateTo(vxlan netdev.Link, peers []netip.Addr) error {
	if s.ControlPlane != Static {
		return nil
	}
	entries, _, err := s.dev.FDB(vxlan)
	if err != nil {
		return err
	}
	var changes netdev.Entries
	for _, e := range entries {
		if e.MAC == netdev.AnyMAC.String() && !slices.Contains(peers, e.Remote) {
			changes.RemoveFDB(vxlan, netdev.AnyMAC, e.Remote)
		}
	}
	for _, peer := range peers {
		changes.AddFDB(vxlan, netdev.AnyMAC, peer)
	}
	return s.dev.Apply(&changes)
}

// disconnect removes the VXLAN device and the rules that went with it.
func (s *segment) disconnect() error {
	errs := []error{s.dev.DeleteLink(s.vxlanName()), firewall.ForgetGateway(s.anycast())}
	if s.Encrypted && errs[0] == nil { // after the device that could send
		errs = append(errs, firewall.Unseal(s.sealed()))
	}
	return errors.Join(errs...)
}
