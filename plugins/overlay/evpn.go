package overlay

import (
	"errors"
	"net"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
)

// tellFabric has the kernel's tables say where the container is, for a BGP
// daemon to read: the bridge's forwarding table becomes MAC routes, and the
// neighbours of the bridge, which is the segment's interface on this host,
// become MAC/IP routes (RFC 7432, section 7.2). Entries that the kernel
// learns by itself would do, but they age, and a container that is silent for
// five minutes would leave the fabric.
func (w *wiring) tellFabric() error {
	if w.ControlPlane != EVPN {
		return nil
	}
	dev, err := netdev.Here()
	if err != nil {
		return err
	}
	defer dev.Close()
	port, err := dev.Link(hostName(w.req))
	if err != nil {
		return err
	}
	bridge, err := dev.Link(w.Bridge)
	if err != nil {
		return err
	}
	mac := net.HardwareAddr(w.a.Record.MAC)
	w.a.OnAbort(func() error { return withdrawFromFabric(w.driven, w.a.Record) })
	var changes netdev.Entries
	changes.BridgeFDB(true, port, mac)
	for _, p := range w.a.Record.Addresses {
		changes.Neighbour(true, bridge, p.Addr(), mac)
	}
	return dev.Apply(&changes)
}

// withdrawFromFabric removes the neighbours; the forwarding entry goes with
// its port. A bridge that is gone has taken them along.
func withdrawFromFabric(was driven, r *endpoint.Record) error {
	if r == nil || was.ControlPlane != EVPN {
		return nil
	}
	dev, err := netdev.Here()
	if err != nil {
		return err
	}
	defer dev.Close()
	bridge, err := dev.Link(was.Bridge)
	if errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var changes netdev.Entries
	for _, p := range r.Addresses {
		changes.Neighbour(false, bridge, p.Addr(), nil)
	}
	return dev.Apply(&changes)
}
