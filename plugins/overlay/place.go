package overlay

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// place is where this host stands among the hosts of a network.
type place struct {
	local    netip.Addr   // VTEP
	underlay netdev.Link  // device towards the peers
	bind     bool         // packets leave by underlay whatever the routes say
	peers    []netip.Addr // the other hosts
	mtu      int          // of the overlay
}

// locate finds the host's address among the peers, or the one its routes to
// them use. So one configuration that lists every host serves all of them.
func (c *Config) locate(dev *netdev.Handle) (*place, error) {
	p := &place{bind: c.Underlay != ""}
	for _, step := range []func(*place, *netdev.Handle) error{c.findPeers, c.findLocal, c.findUnderlay, c.findMTU} {
		if err := step(p, dev); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (c *Config) findPeers(p *place, dev *netdev.Handle) error {
	for _, peer := range c.Peers {
		path, err := dev.PathTo(peer)
		if errors.Is(err, netdev.ErrNotFound) {
			// The uplink may be down just now; the entry waits for it.
			path, err = netdev.Path{}, nil
		}
		switch {
		case err != nil:
			return err
		case !path.Local:
			p.peers = append(p.peers, peer)
		case p.local.IsValid():
			return plugins.Errorf(plugins.CodeInvalidConfig, "peers: %s and %s both belong to this host; say with local which one it uses", p.local, peer)
		case c.Local.IsValid() && c.Local != peer:
			return plugins.Errorf(plugins.CodeInvalidConfig, "peers: %s belongs to this host, whose local is %s", peer, c.Local)
		default:
			p.local = peer
		}
	}
	if c.ControlPlane == Static && len(p.peers) == 0 {
		return plugins.Errorf(plugins.CodeInvalidConfig, "peers: all of them belong to this host")
	}
	return nil
}

func (c *Config) findLocal(p *place, dev *netdev.Handle) error {
	if c.Local.IsValid() {
		path, err := dev.PathTo(c.Local)
		if err != nil || !path.Local {
			code := plugins.CodeInvalidConfig
			if c.ControlPlane == Etcd { // the agent's: the uplink has just got another
				code = plugins.CodeTryAgain
			}
			return plugins.Errorf(code, "local: this host does not have the address %s", c.Local)
		}
		p.local = c.Local
	}
	if p.local.IsValid() {
		return nil
	}
	if c.Underlay != "" {
		return c.localOfUnderlay(p, dev)
	}
	for _, peer := range p.peers {
		if path, err := dev.PathTo(peer); err == nil && path.Source.IsValid() {
			p.local = path.Source
			return nil
		}
	}
	return plugins.Errorf(plugins.CodeTryAgain, "find the host's address on the underlay: no route to any peer of network %s; give local or underlay", c.network)
}

// localOfUnderlay is the first address of the device that has the peers'
// family.
func (c *Config) localOfUnderlay(p *place, dev *netdev.Handle) error {
	link, err := dev.Link(c.Underlay)
	if err != nil {
		return plugins.Errorf(plugins.CodeInvalidConfig, "underlay: %w", err)
	}
	addrs, err := dev.Addrs(link)
	if err != nil {
		return err
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.Prefix) bool {
		return a.Addr().IsLinkLocalUnicast() || len(p.peers) > 0 && a.Addr().Is4() != p.peers[0].Is4()
	})
	if len(addrs) == 0 {
		return plugins.Errorf(plugins.CodeInvalidConfig, "underlay: %s has no address of the peers' family", c.Underlay)
	}
	i := slices.IndexFunc(addrs, func(a netip.Prefix) bool { return c.fabricTakes(a.Addr()) })
	if i < 0 {
		return plugins.Errorf(plugins.CodeInvalidConfig, "underlay: %s has %w", c.Underlay, errFabricIPv6(addrs[0].Addr()))
	}
	p.local = addrs[i].Addr()
	return nil
}

// findUnderlay takes the device of the configuration, of the route to the
// first peer that has one, or of the local address.
func (c *Config) findUnderlay(p *place, dev *netdev.Handle) (err error) {
	if c.Underlay != "" {
		if p.underlay, err = dev.Link(c.Underlay); err != nil {
			return plugins.Errorf(plugins.CodeInvalidConfig, "underlay: %w", err)
		}
		return nil
	}
	for _, peer := range p.peers {
		if path, err := dev.PathTo(peer); err == nil {
			p.underlay, err = dev.LinkByIndex(path.Link)
			return err
		}
	}
	p.underlay, err = dev.LinkWithAddr(p.local)
	return err
}

// findMTU leaves room for the encapsulation, so that no packet of a container
// is ever fragmented on the underlay.
func (c *Config) findMTU(p *place, dev *netdev.Handle) error {
	room := p.underlay.Attrs().MTU
	for _, peer := range p.peers {
		if path, err := dev.PathTo(peer); err == nil && path.MTU > 0 {
			room = min(room, path.MTU)
		}
	}
	most := room - Encapsulation(p.local)
	p.mtu = most
	// A fabric's hosts often have their address on the loopback device, whose
	// MTU says nothing of the way to the peers.
	if p.underlay.Attrs().Flags&net.FlagLoopback != 0 && c.MTU == 0 {
		return plugins.Errorf(plugins.CodeInvalidConfig, "mtu: the local address %s is on %s, so there is no underlay to take it from; give the uplinks' less %d",
			p.local, p.underlay.Attrs().Name, Encapsulation(p.local))
	}
	if c.MTU > most {
		return plugins.Errorf(plugins.CodeInvalidConfig, "mtu: %d does not fit: %s carries %d, of which VXLAN takes %d; use at most %d",
			c.MTU, p.underlay.Attrs().Name, room, Encapsulation(p.local), most)
	}
	if c.MTU > 0 {
		p.mtu = c.MTU
	}
	return nil
}
