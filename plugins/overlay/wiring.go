package overlay

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// wiring is an Add between the recorded intent and the result.
type wiring struct {
	*segment
	driven driven
	store  *state.Store
	filter firewall.Firewall
	a      *attach.Attachment
	req    *plugins.Request
	served api.Served     // the devices of the host's part
	inner  *attach.Device // the container's

	warnings []string
}

// newWiring opens what an Add works with. It needs nothing that the agent says.
func newWiring(m *membership, req *plugins.Request) (*wiring, error) {
	host, err := netdev.Dial()
	if err != nil {
		return nil, err
	}
	fw, err := firewall.Open("")
	if err != nil {
		host.Close()
		return nil, err
	}
	return &wiring{segment: &segment{Config: m.conf, host: host}, store: m.store, filter: fw, req: req}, nil
}

func (w *wiring) close() {
	w.host.Close()
	if w.inner != nil {
		w.inner.Close()
	}
}

// connect makes and announces the container's device. What it has made is
// undone by the attachment's Abort.
func (w *wiring) connect(ctx context.Context) (*plugins.Result, error) {
	if err := w.removeStale(); err != nil {
		return nil, err
	}
	if err := firewall.CheckListeners(w.a.Record.Ports); err != nil {
		return nil, err
	}
	bridge, vxlan, err := w.ensure(ctx, w.store)
	if err != nil {
		return nil, err
	}
	w.served = api.Served{Bridge: bridge.Index, VXLAN: vxlan.Index}
	if err := w.addDevice(vxlan.MTU); err != nil {
		return nil, err
	}
	if err := w.a.Delegate(ctx); err != nil {
		return nil, err
	}
	if err := w.letThrough(); err != nil {
		return nil, err
	}
	if err := w.inner.Up(); err != nil {
		return nil, err
	}
	if err := w.host.SyncCarrier(hostName(w.req), w.Bridge); err != nil {
		return nil, err
	}
	if err := w.tellFabric(); err != nil {
		return nil, err
	}
	if err := w.inner.Configure(attach.Setup{Routes: w.a.Routes(), Pinned: true, Announce: netdev.Announcements, Resolve: true}); err != nil {
		return nil, err
	}
	return w.result(), nil
}

func (w *wiring) result() *plugins.Result {
	r := w.a.Result(
		plugins.Interface{Name: w.inner.Name, MAC: w.inner.MAC, MTU: w.inner.MTU, Sandbox: w.req.NetNS},
		plugins.Interface{Name: hostName(w.req)},
		plugins.Interface{Name: w.Bridge, MAC: gatewayMAC(w.VNI)},
	)
	r.Warnings = w.warnings
	return r
}

// removeStale clears away what an Add that was killed has left, under the
// same names.
func (w *wiring) removeStale() error {
	if w.a.Stale == nil {
		return nil
	}
	was, err := drivenOf(w.a.Stale)
	return errors.Join(err, teardown(w.req, w.a.Stale, was))
}

// addDevice makes the pair; the host's end is up and on the bridge when it
// returns, the container's is not up yet.
func (w *wiring) addDevice(mtu int) (err error) {
	name, b := hostName(w.req), new(netdev.Batch)
	w.inner, err = w.a.Make(w.req.IfName, func() error {
		b.AddVeth(&netdev.Veth{
			Name: name, Master: w.served.Bridge, MTU: mtu,
			PeerName: w.req.IfName, PeerMAC: w.mac(), PeerNS: w.a.Container.FD(),
		})
		if err := w.host.Do(b); err != nil {
			return err
		}
		w.a.OnAbort(func() error { return netdev.DeleteLinkHere(name) })
		return nil
	})
	if err != nil {
		return err
	}
	w.a.Record.MAC = endpoint.MAC(w.inner.MAC)
	b.Quiet(name)
	b.ChangeLink(name, netdev.LinkChange{Alias: w.a.Record.Key.Alias(), Port: netdev.Port{Hairpin: &w.HairpinMode}, Up: true})
	return w.host.Do(b)
}

// mac is the one that was asked for, or the one of the first address; nil
// where another's plugin is to bring the addresses: then it is the kernel's.
func (w *wiring) mac() net.HardwareAddr {
	if asked := w.req.MAC(); asked != nil {
		return asked
	}
	if len(w.a.Addresses) > 0 {
		return ContainerMAC(w.a.Addresses[0].Prefix.Addr())
	}
	return nil
}

// letThrough tells the packet filter of the container, and the bridge of the
// gateways that only another's IPAM plugin knew.
func (w *wiring) letThrough() (err error) {
	var late []netip.Prefix
	for _, addr := range w.a.Addresses {
		if addr.Gateway.IsValid() && !w.a.IPAM.Embedded() {
			late = append(late, netip.PrefixFrom(addr.Gateway, addr.Prefix.Bits()))
		}
	}
	if len(late) > 0 {
		if err := w.addGateways(late); err != nil {
			return err
		}
	}
	if w.driven.Bridge == "" || len(w.a.Record.Addresses) == 0 {
		return nil
	}
	policy, member := w.driven.policy(), w.driven.member(w.a.Record)
	w.a.OnAbort(func() error { return w.filter.Del(policy, member) })
	if err = w.filter.Add(policy, member); err != nil {
		return err
	}
	if w.warnings, err = w.driven.openWays(w.host, w.a.Record); err != nil {
		return err
	}
	return firewall.FlushUDP(member.Ports)
}
