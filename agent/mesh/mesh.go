// Package mesh is this host's end of the WireGuard mesh under the cluster's
// encrypted networks.
//
// A host has one device, with a link-local address that follows from its
// identity, and every other host with a container on one of its encrypted
// networks is a peer. The private key is made on the host, lives as long as
// the boot, and goes nowhere but to the kernel or to wireguard-go.
//
// The device outlives the agent. The kernel's WireGuard goes on without it;
// with wireguard-go, which runs inside the agent, the device stays and loses
// what is sent to it until an agent opens it again.
package mesh

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/netdev"
)

const (
	// Device is the name of the WireGuard device.
	Device = "wg-berth"

	alias = netdev.AliasPrefix + "mesh"

	// DefaultPort is the UDP port where other hosts send to.
	DefaultPort = api.MeshPort
)

// Implementations of WireGuard. The empty string is the kernel's where it has
// one, and else wireguard-go.
const (
	Kernel    = api.MeshKernel
	Userspace = api.MeshUserspace
)

// Options say how this host takes part. Zero values mean the defaults.
type Options struct {
	Implementation string
	Port           uint16        // UDP; default DefaultPort
	Keepalive      time.Duration // between packets to a silent peer, so that a NAT in between remembers; 0: none
}

// Mesh is this host's end. It is for one goroutine at a time.
type Mesh struct {
	options Options
	log     *slog.Logger
	keyFile string
	key     wgtypes.Key
	public  string
	ctl     *wgctrl.Client
	user    *userspace           // nil: the kernel's, or not up
	link    int                  // index of the device; 0: not up
	have    map[wgtypes.Key]bool // peers of the device
	told    map[wgtypes.Key]Peer // as they were set last

	heard map[wgtypes.Key]sighting // of the peers that were set last
	news  bool                     // heard has something that the file has not
}

// New reads this boot's key from the directory, or makes one.
func New(dir string, o Options, log *slog.Logger) (*Mesh, error) {
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	m := &Mesh{options: o, log: log, keyFile: keyPath(dir), heard: map[wgtypes.Key]sighting{}}
	key, err := loadKey(m.keyFile)
	m.use(key)
	return m, err
}

// use has the key, and the public one that follows from it by a computation
// too long for each change of the cluster.
func (m *Mesh) use(key wgtypes.Key) { m.key, m.public = key, key.PublicKey().String() }

// PublicKey is the one that the other hosts are told.
func (m *Mesh) PublicKey() string { return m.public }

// Rotate replaces the private key. The peers reach this host again when they
// have been told of the new public one. A kill on the way leaves the one key
// or the other in the file, and the next New goes by that.
func (m *Mesh) Rotate() error {
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return fmt.Errorf("make key of the mesh: %w", err)
	}
	if err := storeKey(m.keyFile, key, os.Rename); err != nil {
		return err
	}
	m.use(key)
	if m.link == 0 {
		return nil
	}
	return m.configure()
}

// Port is the UDP port that the other hosts are told.
func (m *Mesh) Port() uint16 { return m.options.Port }

// Address is the address, inside the tunnels, of the host with an identity. It
// is link-local, so that a packet for it has no way but the mesh's device,
// whatever the host's routes say, and a VXLAN device that has it accepts
// packets by the mesh alone (vxlan_vs_find_vni of
// drivers/net/vxlan/vxlan_core.c).
func Address(identity string) netip.Addr {
	sum := sha256.Sum256([]byte("berth mesh\x00" + identity))
	return netip.AddrFrom16([16]byte(append([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0}, sum[:8]...)))
}

// Overhead is what WireGuard adds to a packet: an IP and a UDP header, 16
// bytes of its own and a tag of 16 (section 5.4.6 of its paper).
func Overhead(underlay netip.Addr) int {
	if underlay.Is4() {
		return 20 + 8 + 16 + 16
	}
	return 40 + 8 + 16 + 16
}

// Up makes the device what it should be, where it is not: with the key, the
// port, the address and the MTU. Its peers stay until SetPeers.
func (m *Mesh) Up(dev *netdev.Handle, address netip.Addr, mtu int) (netdev.Link, error) {
	link, err := m.open(dev, mtu)
	if err != nil {
		return nil, err
	}
	if link.Attrs().Alias != alias { // new, or a kill came in between
		if err := dev.SetAlias(link, alias); err != nil {
			return nil, err
		}
	}
	if link.Attrs().Index != m.link {
		if err := m.configure(); err != nil {
			return nil, err
		}
		m.link, m.told = link.Attrs().Index, map[wgtypes.Key]Peer{}
	}
	if err := m.readPeers(); err != nil {
		return nil, err
	}
	for _, sysctl := range [][2]string{{"disable_ipv6", "0"}, {"addr_gen_mode", "1"}, {"accept_ra", "0"}} {
		if err := dev.SetSysctl("ipv6/conf/"+Device+"/"+sysctl[0], sysctl[1]); err != nil {
			return nil, err
		}
	}
	if link.Attrs().MTU != mtu {
		if err := dev.SetMTU(link, mtu); err != nil {
			return nil, err
		}
	}
	if err := dev.AddAddr(link, netip.PrefixFrom(address, 64)); err != nil {
		return nil, err
	}
	if err := dev.SetUp(link); err != nil {
		return nil, err
	}
	if err := awaitLocal(dev, address); err != nil {
		return nil, err
	}
	return dev.Link(Device)
}

// Settle leaves the device no address but this one. Another is of a name that
// the host had before: the peers take nothing from there, when they know.
func (m *Mesh) Settle(dev *netdev.Handle, link netdev.Link, address netip.Addr) error {
	addrs, err := dev.Addrs(link)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range addrs {
		if p.Addr() != address {
			errs = append(errs, dev.DropAddr(link, p))
		}
	}
	return errors.Join(errs...)
}

// awaitLocal waits until the host takes the address for its own: the kernel
// adds the route that says so from a work queue (addrconf_dad_work of
// net/ipv6/addrconf.c), also where it detects no duplicates.
func awaitLocal(dev *netdev.Handle, address netip.Addr) error {
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		path, err := dev.PathTo(address)
		if err == nil && path.Local {
			return nil
		}
		if time.Since(begin) > time.Second {
			return fmt.Errorf("open mesh: %s does not come up with the address %s: is IPv6 off (net.ipv6.conf.all.disable_ipv6)?", Device, address)
		}
	}
}

// open finds the device, of the kind that is wanted, or makes it.
func (m *Mesh) open(dev *netdev.Handle, mtu int) (netdev.Link, error) {
	link, err := dev.Link(Device)
	switch {
	case errors.Is(err, netdev.ErrNotFound):
		m.close()
	case err != nil:
		return nil, err
	case !netdev.IsWireGuard(link) && !netdev.IsTUN(link):
		return nil, fmt.Errorf("open mesh: a device %s of type %s exists, which is not berth's; rename it", Device, link.Type())
	case netdev.IsWireGuard(link) && m.options.Implementation != Userspace:
		return link, m.control()
	case netdev.IsTUN(link) && m.options.Implementation != Kernel:
		return m.openUserspace(dev, mtu)
	default:
		if err := m.Down(dev); err != nil {
			return nil, err
		}
	}
	if m.options.Implementation != Userspace {
		link, err := dev.AddWireGuard(Device)
		if err == nil {
			return link, m.control()
		}
		if m.options.Implementation == Kernel || !errors.Is(err, netdev.ErrNoWireGuard) {
			return nil, fmt.Errorf("open mesh: %w", err)
		}
	}
	return m.openUserspace(dev, mtu)
}

func (m *Mesh) openUserspace(dev *netdev.Handle, mtu int) (netdev.Link, error) {
	if m.user != nil && !m.user.ended() {
		return dev.Link(Device)
	}
	m.close()
	user, err := openUserspace(dev, mtu, m.log)
	if err != nil {
		return nil, fmt.Errorf("open mesh: %w", err)
	}
	m.user = user
	if err := m.control(); err != nil {
		return nil, err
	}
	return dev.Link(Device)
}

// control opens the way to configure the device, of either implementation.
func (m *Mesh) control() (err error) {
	if m.ctl == nil {
		if m.ctl, err = wgctrl.New(); err != nil {
			return fmt.Errorf("configure mesh: %w", err)
		}
	}
	return nil
}

func (m *Mesh) configure() error {
	port := int(m.options.Port)
	if err := m.ctl.ConfigureDevice(Device, wgtypes.Config{PrivateKey: &m.key, ListenPort: &port}); err != nil {
		return fmt.Errorf("configure mesh on UDP port %d: %w", port, err)
	}
	return nil
}

// Down removes the device. One that is not there is success.
func (m *Mesh) Down(dev *netdev.Handle) error {
	m.close()
	link, err := dev.Link(Device)
	if errors.Is(err, netdev.ErrNotFound) {
		return m.forget()
	}
	if err != nil || link.Attrs().Alias != alias {
		return err
	}
	return errors.Join(dev.DeleteLink(Device), m.forget())
}

// Close lets go of the device and leaves it there, and notes where its peers
// are for who resumes it.
func (m *Mesh) Close() error {
	defer m.close()
	if m.link == 0 {
		return nil
	}
	return m.readPeers()
}

func (m *Mesh) close() {
	if m.user != nil {
		m.user.close()
	}
	if m.ctl != nil {
		m.ctl.Close()
	}
	m.user, m.ctl, m.link, m.have, m.told = nil, nil, 0, nil, nil
}
