package bridge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// VLANTrunk lets a port carry more VLANs, tagged: ID, those from MinID to
// MaxID, or both.
type VLANTrunk struct {
	ID    *int `json:"id"`
	MinID *int `json:"minID"`
	MaxID *int `json:"maxID"`
}

const (
	// maxVLAN is the last VLAN of IEEE 802.1Q; 4095 is reserved.
	maxVLAN = 4094

	// nativeVLAN is what comes untagged on a trunk that has no VLAN of its
	// own: the default of 802.1Q, the kernel and the upstream plugin.
	nativeVLAN = 1
)

func (c *Config) validateVLANs() error {
	if c.VLAN < 0 || c.VLAN > maxVLAN {
		return fmt.Errorf("vlan: %d is not between 0 and %d", c.VLAN, maxVLAN)
	}
	if problem := netdev.NameProblem(c.gatewayDevice()); problem != "" {
		return fmt.Errorf("bridge: the gateway of VLAN %d would be on the device %q, whose name %s; give the bridge a shorter name", c.VLAN, c.gatewayDevice(), problem)
	}
	for i, t := range c.VLANTrunk {
		if _, err := t.runs(); err != nil {
			return fmt.Errorf("vlanTrunk[%d]: %w", i, err)
		}
	}
	return nil
}

// runs are the trunk's VLANs.
func (t VLANTrunk) runs() (runs []netdev.VLANs, err error) {
	if (t.MinID == nil) != (t.MaxID == nil) || t.ID == nil && t.MinID == nil {
		return nil, errors.New("give id, or minID and maxID, or all three")
	}
	add := func(first, last int) {
		if first < 1 || last > maxVLAN || first > last {
			err = fmt.Errorf("VLANs %d to %d are not between 1 and %d", first, last, maxVLAN)
			return
		}
		runs = append(runs, netdev.VLANs{First: uint16(first), Last: uint16(last)})
	}
	if t.MinID != nil {
		add(*t.MinID, *t.MaxID)
	}
	if t.ID != nil {
		add(*t.ID, *t.ID)
	}
	return runs, err
}

// vlans tells whether the bridge has to filter VLANs.
func (c *Config) vlans() bool { return c.VLAN != 0 || len(c.VLANTrunk) > 0 }

// keepsDefault tells whether ports stay in the VLAN that the bridge gives each.
func (c *Config) keepsDefault() bool { return c.PreserveDefaultVLAN == nil || *c.PreserveDefaultVLAN }

// memberships are the VLANs of a container's port; its own is the last.
func (c *Config) memberships() (vlans []netdev.VLANs) {
	for _, t := range c.VLANTrunk {
		runs, _ := t.runs() // validated
		vlans = append(vlans, runs...)
	}
	own := uint16(c.VLAN)
	if own == 0 {
		own = nativeVLAN
	}
	return append(vlans, netdev.VLANs{First: own, Last: own, Own: true})
}

// ensureFiltering lets berth's own bridge tell VLANs apart. Of another's it
// is refused: that would part its ports from one another.
func ensureFiltering(c *netdev.Conn, conf *Config, dev *netdev.Device) error {
	switch {
	case !conf.vlans() || dev.Bridge != nil && dev.Bridge.VLANFiltering:
		return nil
	case !strings.HasPrefix(dev.Alias, netdev.AliasPrefix):
		return plugins.Errorf(plugins.CodeInvalidConfig,
			"bridge: %[1]s was not made by berth and does not filter VLANs; let it do so (ip link set %[1]s type bridge vlan_filtering 1), or leave vlan and vlanTrunk away", dev.Name)
	}
	return filterVLANs(c, conf, dev)
}

func filterVLANs(c *netdev.Conn, conf *Config, dev *netdev.Device) error {
	b := new(netdev.Batch)
	b.FilterVLANs(dev.Name)
	return explainVLAN(conf, c.Do(b))
}

// joinVLANs makes a port a member of VLANs, and of the bridge's default one
// no longer where the network does not want to keep it.
func joinVLANs(c *netdev.Conn, conf *Config, bridge *netdev.Device, port int, vlans []netdev.VLANs) error {
	b := new(netdev.Batch)
	if bridge.Bridge != nil && !conf.keepsDefault() {
		pvid := bridge.Bridge.DefaultPVID
		b.DeletePortVLANs(port, netdev.VLANs{First: pvid, Last: pvid})
		if err := c.Do(b); err != nil && !netdev.Missing(err) {
			return explainVLAN(conf, err)
		}
	}
	b.AddPortVLANs(port, vlans...)
	return explainVLAN(conf, c.Do(b))
}

// setVLANs makes the container's port a member of its VLANs.
func (w *wiring) setVLANs(name string) error {
	if !w.conf.vlans() {
		return nil
	}
	port, err := w.host.Device(name)
	if err != nil {
		return err
	}
	return joinVLANs(w.host, w.conf, w.bridge, port.Index, w.conf.memberships())
}

// explainVLAN names what the kernel lacks.
func explainVLAN(conf *Config, err error) error {
	if conf.vlans() && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)) {
		return plugins.Errorf(plugins.CodeNotAvailable,
			"vlan, vlanTrunk: this kernel has no VLAN filtering on bridges (CONFIG_BRIDGE_VLAN_FILTERING): %w", err)
	}
	return err
}

// The bridge itself is in its default VLAN only. So the gateway of a network
// inside another is on a device of its own: one end of a veth pair, BRIDGE.VLAN,
// whose other end is a port of the bridge in that VLAN.

// gatewayDevice is the device of the host that has the gateway's addresses,
// and by which what is routed comes from and goes to the network.
func (c *Config) gatewayDevice() string {
	if c.VLAN == 0 || !c.IsGateway {
		return c.Bridge
	}
	return fmt.Sprintf("%s.%d", c.Bridge, c.VLAN)
}

// gatewayPort is the other end's name.
func gatewayPort(device string) string { return netdev.HostName("bvg", device, "", "") }

// ensureGatewayDevice finds the device for the gateway's addresses or makes
// it. One that bears berth's alias, and whose other end is a port of the
// bridge, is complete. One that somebody else made is taken as it is.
func ensureGatewayDevice(c *netdev.Conn, conf *Config, bridge *netdev.Device, network string) (*netdev.Device, error) {
	name := conf.gatewayDevice()
	if name == bridge.Name {
		return bridge, nil
	}
	dev, err := c.Device(name)
	if errors.Is(err, netdev.ErrNotFound) {
		dev, err = createGatewayDevice(c, bridge, name, network)
	}
	if err != nil {
		return nil, err
	}
	port, err := c.Device(gatewayPort(name))
	switch {
	case errors.Is(err, netdev.ErrNotFound):
		return dev, nil
	case err != nil:
		return nil, err
	case dev.Up && strings.HasPrefix(dev.Alias, netdev.AliasPrefix) && port.Master == bridge.Index:
		return dev, nil
	}
	alias := netdev.AliasPrefix + network
	b := new(netdev.Batch)
	b.ChangeLink(port.Name, netdev.LinkChange{Master: bridge.Index, Alias: alias})
	if err := c.Do(b); err != nil {
		return nil, err
	}
	own := uint16(conf.VLAN)
	if err := joinVLANs(c, conf, bridge, port.Index, []netdev.VLANs{{First: own, Last: own, Own: true}}); err != nil {
		return nil, err
	}
	b.ChangeLink(port.Name, netdev.LinkChange{Up: true})
	err = errors.Join(netdev.WriteSysctl("ipv6/conf/"+port.Name+"/disable_ipv6", "1"), c.Do(b), prepare(c, dev, alias, netdev.LinkChange{}))
	return dev, errors.Join(err, c.SyncCarrier(port.Name, dev.Name))
}

func createGatewayDevice(c *netdev.Conn, bridge *netdev.Device, name, network string) (*netdev.Device, error) {
	port := gatewayPort(name)
	mac, err := netdev.StableMAC(network, "", name)
	if err != nil {
		return nil, err
	}
	portMAC, err := netdev.StableMAC(network, "", port)
	if err != nil {
		return nil, err
	}
	b := new(netdev.Batch)
	b.AddVeth(&netdev.Veth{Name: port, MAC: portMAC, MTU: bridge.MTU, PeerName: name, PeerMAC: mac})
	if err := c.Do(b); err != nil && !errors.Is(err, unix.EEXIST) { // another Add was faster
		return nil, err
	}
	return c.Device(name)
}

// removeGatewayDevice takes the device away that berth made for the network,
// where it has one of its own and no container of another network in the same
// VLAN needs it.
func (d *Driver) removeGatewayDevice(c *netdev.Conn, conf *Config, network string) error {
	name := conf.gatewayDevice()
	if name == conf.Bridge {
		return nil
	}
	ours, err := mayRemove(c, name, func(alias string) bool { return alias == netdev.AliasPrefix+network })
	if err != nil || !ours {
		return err
	}
	records, err := attach.Records(d.store, "")
	if err != nil {
		return err
	}
	for _, r := range records {
		if other, err := parse(r.Config); r.Driver == "bridge" && err == nil && other.gatewayDevice() == name {
			return nil
		}
	}
	return errors.Join(forget(conf), netdev.DeleteLinkHere(name))
}

// checkVLANs compares a port's memberships with the configuration's.
func checkVLANs(c *netdev.Conn, conf *Config, bridge, port *netdev.Device, want []netdev.VLANs) error {
	if !conf.vlans() {
		return nil
	}
	if bridge.Bridge == nil || !bridge.Bridge.VLANFiltering {
		return differs("VLAN filtering of "+bridge.Name, "off", "on")
	}
	have, err := c.PortVLANs(port.Index)
	if err != nil {
		return err
	}
	if pvid := bridge.Bridge.DefaultPVID; conf.keepsDefault() && pvid != 0 {
		want = append([]netdev.VLANs{{First: pvid, Last: pvid}}, want...)
	}
	if !maps.Equal(eachVLAN(have), eachVLAN(want)) {
		return differs("membership of "+port.Name+" in VLANs", have, slices.Clip(want))
	}
	return nil
}

// eachVLAN tells for each VLAN of the runs whether it is the port's own; a
// later run counts.
func eachVLAN(runs []netdev.VLANs) map[uint16]bool {
	each := map[uint16]bool{}
	for _, r := range runs {
		for id := r.First; id <= r.Last; id++ {
			each[id] = r.Own
		}
	}
	return each
}
