package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/berth-net/berth/netdev"
)

// Resume opens the device that an earlier agent of this boot has left, with
// the peers that it had then: an agent that is restarted while etcd is away
// must not keep traffic from going on. Without a device it does nothing.
//
// Sessions of wireguard-go have ended with that agent, and the peers go on
// sending by them. They would find out after 15 seconds without an answer
// (section 6.4 of WireGuard's paper), or after two minutes where nothing is to
// be answered; so each is greeted.
func (m *Mesh) Resume(dev *netdev.Handle, address netip.Addr, mtu int) error {
	if _, err := dev.Link(Device); errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	sightings, err := m.recall()
	if err != nil {
		return err
	}
	var peers []Peer
	for _, s := range sightings {
		if key, err := wgtypes.ParseKey(s.Key); err == nil {
			m.heard[key] = s
		}
		peers = append(peers, s.Peer)
	}
	if _, err := m.Up(dev, address, mtu); err != nil {
		return err
	}
	if err := m.SetPeers(peers, false); err != nil || m.user == nil {
		return err
	}
	for _, p := range peers {
		greet(p.Address)
	}
	return nil
}

func (m *Mesh) peersFile() string {
	return filepath.Join(filepath.Dir(m.keyFile), "wireguard-peers.json")
}

// remember writes what Resume reads, where there is something new. Nothing of
// it is secret.
func (m *Mesh) remember() error {
	if !m.news {
		return nil
	}
	raw, err := json.Marshal(slices.Collect(maps.Values(m.heard)))
	if err != nil {
		return fmt.Errorf("remember peers of the mesh: %w", err)
	}
	draft := m.peersFile() + ".new"
	if err = os.WriteFile(draft, raw, 0o600); err == nil {
		err = os.Rename(draft, m.peersFile())
	}
	if err != nil {
		return fmt.Errorf("remember peers of the mesh: %w", err)
	}
	m.news = false
	return nil
}

func (m *Mesh) recall() (sightings []sighting, err error) {
	raw, err := os.ReadFile(m.peersFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &sightings)
	}
	if err != nil {
		return nil, fmt.Errorf("recall peers of the mesh: %w", err)
	}
	return sightings, nil
}

func (m *Mesh) forget() error {
	clear(m.heard)
	if err := os.Remove(m.peersFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget peers of the mesh: %w", err)
	}
	return nil
}
