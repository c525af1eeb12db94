package agent

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/berth-net/berth/netdev"
)

// errNoAddress says that the host has no end of tunnels now. An uplink whose
// lease is renewed gets one again.
var errNoAddress = errors.New("find this host's address on the underlay")

// tunnelEnd is vtep without asking the kernel: an ADD waits for it. The cluster
// is told anew when an address of the host comes or goes, and at each repair;
// where it is about to be, the driver finds that the host lacks the address.
func (a *Agent) tunnelEnd() (netip.Addr, error) {
	a.hasty.Lock()
	end := a.end
	a.hasty.Unlock()
	if end.IsValid() {
		return end, nil
	}
	return a.vtep()
}

// vtep is the address that this host's tunnels leave from: one of its own. It
// asks the kernel by a socket of its own, so that an ADD need not wait for what
// else the agent does.
func (a *Agent) vtep() (netip.Addr, error) {
	conn, err := netdev.Dial()
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	if a.Bind.IsValid() {
		if !owns(conn, a.Bind) {
			return netip.Addr{}, fmt.Errorf("%w: it does not have %s, which --bind names", errNoAddress, a.Bind)
		}
		return a.Bind, nil
	}
	// Behind a NAT the others' address for this host is not its own.
	if a.Advertise.IsValid() && owns(conn, a.Advertise) {
		return a.Advertise, nil
	}
	for _, server := range a.Options.Cluster.Servers {
		addr, err := addressOf(server)
		if err != nil {
			continue
		}
		path, err := conn.PathTo(addr)
		if err == nil && path.Source.IsValid() && !path.Source.IsLoopback() && a.fits(path.Source) {
			return path.Source, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%w: no route to an etcd server settles it; give --bind", errNoAddress)
}

// owns tells whether an address is one of this host's: by its route, and by a
// list of all addresses where it has none, as one of IPv6 while the kernel
// looks for duplicates of it.
func owns(conn *netdev.Conn, addr netip.Addr) bool {
	if path, err := conn.PathTo(addr); err == nil && path.Local {
		return true
	}
	dev, err := netdev.Here()
	if err != nil {
		return false
	}
	defer dev.Close()
	_, err = dev.LinkWithAddr(addr)
	return err == nil
}

// fits tells whether an address has the family that the others send to: a
// tunnel has one.
func (a *Agent) fits(source netip.Addr) bool {
	return !a.Advertise.IsValid() || a.Advertise.Is4() == source.Is4()
}

// underlayMTU is that of the device which has this end of tunnels.
func (a *Agent) underlayMTU(end netip.Addr) (int, error) {
	link, err := a.dev.LinkWithAddr(end)
	if err != nil {
		return 0, err
	}
	return link.Attrs().MTU, nil
}
