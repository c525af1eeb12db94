package agent

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/overlay"
)

// encryption is this host's end of the mesh and why it is up. The agent's
// mutex guards it.
type encryption struct {
	mesh     *mesh.Mesh
	tunnel   netip.Addr                 // this host's VTEP inside the mesh
	on       map[string]bool            // encrypted networks of this host's records; nil: not read yet
	joining  map[endpoint.Key]time.Time // endpoints of such, between Attach and their records
	warnings map[string]bool            // told once each
}

func newEncryption(o *Options, dir, instance string) (*encryption, error) {
	m, err := mesh.New(dir, o.Mesh, o.Log)
	// The name tells a copy of the running machine from it.
	return &encryption{mesh: m, tunnel: mesh.Address(instance + " " + o.Name), joining: map[endpoint.Key]time.Time{}, warnings: map[string]bool{}}, err
}

// describe says this host's place in the mesh. An MTU that cannot be found
// just now is not worth to be unknown for.
func (a *Agent) describe(h *cluster.Host) {
	h.Key, h.Port, h.Tunnel = a.secret.mesh.PublicKey(), a.secret.mesh.Port(), a.secret.tunnel
	h.MTU, _ = a.meshMTU()
}

// minTunnelMTU is what the VXLAN packets inside the mesh take, being IPv6's
// (RFC 8200, section 5): the kernel turns IPv6 off on a device below it.
const minTunnelMTU = 1280

// meshMTU leaves room for what WireGuard adds to a packet.
func (a *Agent) meshMTU() (int, error) {
	vtep, err := a.vtep()
	if err != nil {
		return 0, err
	}
	link, err := a.dev.LinkWithAddr(vtep)
	if err != nil {
		return 0, fmt.Errorf("find the MTU of the mesh: %w", err)
	}
	has, takes := link.Attrs().MTU, mesh.Overhead(vtep)
	if has-takes < minTunnelMTU {
		return 0, fmt.Errorf("mtu: %s carries packets of %d bytes, of which WireGuard takes %d; raise its MTU to %d at least",
			link.Attrs().Name, has, takes, minTunnelMTU+takes)
	}
	return has - takes, nil
}

// joinMesh has the mesh up, with the hosts of the endpoint's network as peers,
// before the network's devices are made on this one.
func (a *Agent) joinMesh(key endpoint.Key) (netdev.Link, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	link, err := a.raiseMesh()
	if err != nil {
		return nil, plugins.Errorf(plugins.CodeNotAvailable, "encrypt network %s: %w", key.Network, err)
	}
	a.secret.joining[key] = time.Now()
	return link, a.updatePeers()
}

// joined notes that an endpoint has its record, by which its network counts
// from now on. a.mu is held.
func (a *Agent) joined(r *endpoint.Record) {
	if overlay.Encrypted(r) && a.secret.on != nil {
		a.secret.on[r.Network] = true
		delete(a.secret.joining, r.Key)
	}
}

// rotateKey gives this host a new key. The others are told at once; until they
// know, about a tenth of a second with etcd at hand, packets are lost.
func (a *Agent) rotateKey() error {
	if _, err := a.cluster.Health(); err != nil {
		return plugins.Errorf(plugins.CodeTryAgain, "rotate key: the other hosts cannot be told of a new one: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.newKey()
}

// newKey replaces this host's key and tells the cluster. a.mu is held.
func (a *Agent) newKey() error {
	err := a.secret.mesh.Rotate()
	a.Log.Info("rotated key", "key", a.secret.mesh.PublicKey())
	return errors.Join(err, a.introduce())
}

// dropSharedKey gives up a key that another host has too, because one is a copy
// of the other: who has a key gets what is sent to its owner, as soon as it
// sends something itself. An agent that has just begun finds out before it tells
// anybody; of two that are there, both do. a.mu is held.
func (a *Agent) dropSharedKey(view *cluster.View) error {
	key := a.secret.mesh.PublicKey()
	for _, h := range view.Hosts() {
		if h.Name != a.Name && h.Key == key {
			a.warn("host %s, at %s, has this host's key for encrypted networks: is one a copy of the other, made while it ran? This one makes a new key", h.Name, h.Address)
			return a.newKey()
		}
	}
	return nil
}

// resumeMesh goes on where an earlier agent left off.
func (a *Agent) resumeMesh() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	mtu, err := a.meshMTU()
	if err != nil {
		return err
	}
	return a.secret.mesh.Resume(a.dev, a.secret.tunnel, mtu)
}

// raiseMesh makes the device right. a.mu is held.
func (a *Agent) raiseMesh() (netdev.Link, error) {
	mtu, err := a.meshMTU()
	if err != nil {
		return nil, err
	}
	return a.secret.mesh.Up(a.dev, a.secret.tunnel, mtu)
}

// keepMesh has the mesh up while this host is on an encrypted network, of which
// it is given a record each, or is about to be. a.mu is held.
func (a *Agent) keepMesh(records map[string]*endpoint.Record) error {
	maps.DeleteFunc(a.secret.joining, func(_ endpoint.Key, at time.Time) bool { return time.Since(at) > claimAge })
	a.secret.isOn(maps.Values(records))
	if len(a.secret.on)+len(a.secret.joining) == 0 {
		return a.secret.mesh.Down(a.dev)
	}
	link, err := a.raiseMesh()
	if err != nil {
		return err
	}
	return errors.Join(a.secret.mesh.Settle(a.dev, link, a.secret.tunnel), a.updatePeers())
}

// isOn notes which encrypted networks this host's records are on.
func (e *encryption) isOn(records iter.Seq[*endpoint.Record]) {
	e.on = map[string]bool{}
	for r := range records {
		if overlay.Encrypted(r) {
			e.on[r.Network] = true
		}
	}
}

// updatePeers makes the peers those that share an encrypted network with this
// host. a.mu is held.
func (a *Agent) updatePeers() error {
	if a.secret.on == nil { // just started: the peers that an earlier agent set are not to be forgotten
		records, err := attach.Records(a.Store, "")
		if err != nil {
			return err
		}
		a.secret.isOn(slices.Values(records))
	}
	view := a.cluster.View()
	if err := a.dropSharedKey(view); err != nil {
		return err
	}
	networks := slices.Collect(maps.Keys(a.secret.on))
	for key := range a.secret.joining {
		networks = append(networks, key.Network)
	}
	own := &cluster.Host{Name: a.Name, Key: a.secret.mesh.PublicKey(), Tunnel: a.secret.tunnel}
	if h := view.Host(a.Name); h != nil {
		own.MTU = h.MTU
	}
	taken := map[any]*cluster.Host{own.Key: own, own.Tunnel: own}
	var peers []mesh.Peer
	for _, h := range view.Members(networks, a.Name) {
		if !a.mayJoin(own, h, taken) {
			continue
		}
		peers = append(peers, mesh.Peer{Key: h.Key, Endpoint: netip.AddrPortFrom(h.Address, h.Port), Address: h.Tunnel})
	}
	return a.secret.mesh.SetPeers(peers, a.cluster.IsRecovering())
}

// mayJoin leaves out, and tells of, hosts that have no key or another's, or
// another's address, and tells of those whose tunnels carry less.
func (a *Agent) mayJoin(own, h *cluster.Host, taken map[any]*cluster.Host) bool {
	if h.Key == "" || h.Port == 0 || !h.Tunnel.IsLinkLocalUnicast() {
		a.warn("host %s has no key for encrypted networks: its berth is older; until it is upgraded it is not reached", h.Name)
		return false
	}
	for _, claim := range []any{h.Key, h.Tunnel} {
		if other := taken[claim]; other != nil {
			a.warn("hosts %s and %s have the same %v: is one a copy of the other, made while it ran? Until one has another, %[2]s is not reached", other.Name, h.Name, claim)
			return false
		}
	}
	taken[h.Key], taken[h.Tunnel] = h, h
	if 0 < h.MTU && h.MTU < own.MTU {
		a.warn("the tunnel of host %s carries packets of %d bytes and this host's %d: create encrypted networks with -o mtu=%d",
			h.Name, h.MTU, own.MTU, h.MTU-overlay.Encapsulation(h.Tunnel))
	}
	return true
}

// warn tells of a state of the cluster once. a.mu is held.
func (a *Agent) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if a.secret.warnings[text] {
		return
	}
	a.secret.warnings[text] = true
	a.Log.Warn(text)
	a.addProblem("keep the mesh", text)
}

// meshStatus describes the mesh; nil: it is not up.
func (a *Agent) meshStatus() *api.Mesh {
	a.mu.Lock()
	defer a.mu.Unlock()
	state, err := a.secret.mesh.State()
	if err != nil {
		a.addProblem("read the mesh", err.Error())
	}
	if state == nil {
		return nil
	}
	m := &api.Mesh{
		Implementation: state.Implementation, Device: mesh.Device, Address: a.secret.tunnel,
		Port: a.secret.mesh.Port(), Key: a.secret.mesh.PublicKey(), Peers: []api.MeshPeer{},
	}
	for _, h := range a.cluster.View().Hosts() {
		if p, ok := state.Peers[h.Key]; ok {
			m.Peers = append(m.Peers, api.MeshPeer{Host: h.Name, Key: h.Key, Endpoint: p.Endpoint, Handshake: p.Handshake, Received: p.Received, Sent: p.Sent})
		}
	}
	return m
}
