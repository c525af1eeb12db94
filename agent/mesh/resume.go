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
func (m *Mesh) Resume(dev *netdev.Handle, address netip.Addr, mtu int) error {
	if _, err := dev.Link(Device); errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	peers, err := m.recall()
	if err != nil {
		return err
	}
	if _, err := m.Up(dev, address, mtu); err != nil {
		return err
	}
	return m.SetPeers(peers)
}

func (m *Mesh) peersFile() string {
	return filepath.Join(filepath.Dir(m.keyFile), "wireguard-peers.json")
}

// remember writes what Resume reads. Nothing of it is secret.
func (m *Mesh) remember(peers map[wgtypes.Key]Peer) error {
	raw, err := json.Marshal(slices.Collect(maps.Values(peers)))
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
	return nil
}

func (m *Mesh) recall() (peers []Peer, err error) {
	raw, err := os.ReadFile(m.peersFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &peers)
	}
	if err != nil {
		return nil, fmt.Errorf("recall peers of the mesh: %w", err)
	}
	return peers, nil
}

func (m *Mesh) forget() error {
	if err := os.Remove(m.peersFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget peers of the mesh: %w", err)
	}
	return nil
}
