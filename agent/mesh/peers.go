package mesh

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Peer is another host.
type Peer struct {
	Key      string // public
	Endpoint netip.AddrPort
	Address  netip.Addr // inside the tunnels; packets from it with another's are dropped
}

// readPeers notes whom the device has, for somebody may have changed that, and
// where each was heard last.
func (m *Mesh) readPeers() error {
	d, err := m.ctl.Device(Device)
	if err != nil {
		return fmt.Errorf("read peers of the mesh: %w", err)
	}
	m.have = map[wgtypes.Key]bool{}
	for _, p := range d.Peers {
		m.have[p.PublicKey] = true
	}
	maps.DeleteFunc(m.told, func(key wgtypes.Key, _ Peer) bool { return !m.have[key] })
	for _, p := range d.Peers {
		if s, ok := m.heard[p.PublicKey]; ok {
			m.hear(p.PublicKey, sighting{s.Peer, endpointOf(p)})
		}
	}
	return m.remember()
}

// sighting is where a peer was heard last, when it was told to be at
// Peer.Endpoint. Behind a NAT the two differ.
type sighting struct {
	Peer
	Heard netip.AddrPort `json:",omitzero"`
}

func (m *Mesh) hear(key wgtypes.Key, s sighting) {
	if m.heard[key] != s {
		m.heard[key], m.news = s, true
	}
}

// hearOnly forgets where peers were heard that are not these, or are told to be
// elsewhere by now.
func (m *Mesh) hearOnly(want map[wgtypes.Key]Peer) {
	maps.DeleteFunc(m.heard, func(key wgtypes.Key, s sighting) bool {
		gone := want[key] != s.Peer
		m.news = m.news || gone
		return gone
	})
	for key, p := range want {
		if _, ok := m.heard[key]; !ok {
			m.hear(key, sighting{Peer: p})
		}
	}
}

func endpointOf(p wgtypes.Peer) netip.AddrPort {
	if p.Endpoint == nil {
		return netip.AddrPort{}
	}
	at := p.Endpoint.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// SetPeers makes the peers these and no others; or, where there may be more,
// these and those that were set before. Without a device it does nothing. An
// endpoint is set only when it differs from what was told last: WireGuard
// follows a peer that moves.
func (m *Mesh) SetPeers(peers []Peer, more bool) error {
	if m.link == 0 {
		return nil
	}
	var errs []error
	want, changes, taken := map[wgtypes.Key]Peer{}, []wgtypes.PeerConfig{}, map[netip.Addr]bool{}
	for _, p := range peers {
		key, err := wgtypes.ParseKey(p.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("key %q of the peer at %s: %w", p.Key, p.Endpoint, err))
			continue
		}
		want[key], taken[p.Address] = p, true
		if m.told[key] != p {
			changes = append(changes, m.peer(key, p))
		}
	}
	for key := range m.have {
		if _, ok := want[key]; ok {
			continue
		}
		if old, set := m.told[key]; more && set && !taken[old.Address] {
			want[key] = old
		} else {
			// First: another key may have the peer's address by now.
			changes = append([]wgtypes.PeerConfig{{PublicKey: key, Remove: true}}, changes...)
		}
	}
	if len(changes) > 0 {
		if err := m.ctl.ConfigureDevice(Device, wgtypes.Config{Peers: changes}); err != nil {
			return errors.Join(append(errs, fmt.Errorf("set peers of the mesh: %w", err))...)
		}
	}
	m.hearOnly(want)
	errs = append(errs, m.remember())
	m.greetRotated(want)
	m.told, m.have = want, map[wgtypes.Key]bool{}
	for key := range want {
		m.have[key] = true
	}
	return errors.Join(errs...)
}

// greetAfter is longer than a handshake that is under way takes. Two that
// cross each other fail both, and are tried again after five seconds.
const greetAfter = 100 * time.Millisecond

// greetRotated has WireGuard shake hands with peers that have changed their
// keys. Their own handshake came before this host knew the new key, mostly,
// and would come again after five seconds only.
func (m *Mesh) greetRotated(want map[wgtypes.Key]Peer) {
	keys := map[netip.Addr]wgtypes.Key{}
	for key, p := range m.told {
		keys[p.Address] = key
	}
	for key, p := range want {
		if old, known := keys[p.Address]; known && old != key {
			time.AfterFunc(greetAfter, func() { greet(p.Address) })
		}
	}
}

// greet sends a packet, which the peer's packet filter drops. That it cannot
// be sent is no matter.
func greet(a netip.Addr) {
	const discard = 9 // RFC 863
	c, err := net.Dial("udp6", netip.AddrPortFrom(a.WithZone(Device), discard).String())
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte("berth"))
}

// peer is the configuration of a peer, which is sent to where it was heard last
// if it is told to be where it was told to be then.
func (m *Mesh) peer(key wgtypes.Key, p Peer) wgtypes.PeerConfig {
	keepalive, at := m.options.Keepalive, p.Endpoint
	if s := m.heard[key]; s.Peer == p && s.Heard.IsValid() {
		at = s.Heard
	}
	return wgtypes.PeerConfig{
		PublicKey: key, Endpoint: net.UDPAddrFromAddrPort(at), PersistentKeepaliveInterval: &keepalive,
		ReplaceAllowedIPs: true,
		AllowedIPs:        []net.IPNet{{IP: p.Address.AsSlice(), Mask: net.CIDRMask(128, 128)}},
	}
}

// State is how the device does.
type State struct {
	Implementation string
	Peers          map[string]PeerState // by public key
}

// PeerState is what WireGuard says of a peer.
type PeerState struct {
	Endpoint  netip.AddrPort // where it was heard last
	Handshake time.Time      // the last; zero: none yet
	Received  int64          // bytes
	Sent      int64
}

// State reads the device; nil: it is not up.
func (m *Mesh) State() (*State, error) {
	if m.link == 0 {
		return nil, nil
	}
	d, err := m.ctl.Device(Device)
	if err != nil {
		return nil, fmt.Errorf("read state of the mesh: %w", err)
	}
	s := &State{Implementation: Kernel, Peers: map[string]PeerState{}}
	if m.user != nil {
		s.Implementation = Userspace
	}
	for _, p := range d.Peers {
		peer := PeerState{Endpoint: endpointOf(p), Received: p.ReceiveBytes, Sent: p.TransmitBytes}
		// wireguard-go says a time before 1970 for none.
		if p.LastHandshakeTime.Unix() > 0 {
			peer.Handshake = p.LastHandshakeTime
		}
		s.Peers[p.PublicKey.String()] = peer
	}
	return s, nil
}
