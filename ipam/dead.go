package ipam

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/state"
)

// Holding is what one endpoint has leased.
type Holding struct {
	endpoint.Key
	Addresses []netip.Addr `json:"addresses"`
	NetNS     string       `json:"netns,omitempty"`
	NetNSID   netns.ID     `json:"netnsID,omitzero"`
	Since     time.Time    `json:"since"`
}

// Alive tells whether the namespace that the addresses were leased for still
// exists. One that was not told is taken to.
func (h *Holding) Alive() bool {
	if h.NetNS == "" {
		return true
	}
	if h.NetNSID != (netns.ID{}) {
		return h.NetNSID.Is(h.NetNS)
	}
	ns, err := netns.Open(h.NetNS)
	if err != nil {
		return false
	}
	ns.Close()
	return true
}

// Holdings lists what is leased of one network, or of all where it is empty.
// Its cost grows with the leases: it is for people and for repair.
func Holdings(tx *state.Tx, network string) ([]Holding, error) {
	var all []Holding
	err := eachNetwork(tx, network, func(name string, x index) error {
		return x.owners(func(h holder, o owner) {
			all = append(all, Holding{
				Key:       endpoint.Key{Network: name, ContainerID: h.container, IfName: h.ifname},
				Addresses: o.Addresses, NetNS: o.NetNS, NetNSID: o.NetNSID, Since: o.Since,
			})
		})
	})
	return all, err
}

// ReleaseDead frees the addresses of one network, or of all where it is
// empty, that no endpoint is recorded for and whose namespace is gone, and
// returns what it freed. Those with a record are freed with it.
func ReleaseDead(tx *state.Tx, network string) ([]Holding, error) {
	all, err := Holdings(tx, network)
	if err != nil {
		return nil, err
	}
	var dead []Holding
	for _, h := range all {
		if endpoint.Has(tx, h.Key) || h.Alive() {
			continue
		}
		if err := Release(tx, h.Key); err != nil {
			return nil, err
		}
		dead = append(dead, h)
	}
	return dead, nil
}

func eachNetwork(tx *state.Tx, network string, fn func(name string, x index) error) error {
	if network != "" {
		if x, ok := findIndex(tx, network); ok {
			return fn(network, x)
		}
		return nil
	}
	top := tx.Bucket(bucket)
	if top == nil {
		return nil
	}
	return top.ForEachBucket(func(name []byte) error { return fn(string(name), index{top.Bucket(name)}) })
}

func (x index) owners(fn func(holder, owner)) error {
	c := x.b.Cursor()
	for k, raw := c.Seek([]byte{keyOwner}); len(k) > 0 && k[0] == keyOwner; k, raw = c.Next() {
		var o owner
		h := parseHolder(k[1:])
		if err := json.Unmarshal(raw, &o); err != nil {
			return fmt.Errorf("decode leases of container %s: %w", h.container, err)
		}
		fn(h, o)
	}
	return nil
}
