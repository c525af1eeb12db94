// Package endpoint keeps the record of every attachment of a container to a
// network.
//
// A record is written before the kernel is touched, marked ready after, and
// erased last. So at any instant, kill -9 included, either the record or
// nothing exists, and what a record names can be removed.
package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// ErrNotFound says that no record has the key.
var ErrNotFound = errors.New("no such endpoint")

// Key names one attachment on this host.
type Key struct {
	Network     string `json:"network"`
	ContainerID string `json:"container"`
	IfName      string `json:"ifname"`
}

func (k Key) String() string { return k.Network + "/" + k.ContainerID + "/" + k.IfName }

// Phase tells how far an attachment has come.
type Phase string

const (
	Intent Phase = "intent" // the kernel may have all, some or nothing of it
	Ready  Phase = "ready"
)

// Record is one attachment.
type Record struct {
	Key
	Driver  string          `json:"driver"`
	Phase   Phase           `json:"phase"`
	Owner   string          `json:"owner,omitempty"`
	Name    string          `json:"name,omitempty"` // of the container
	NetNS   string          `json:"netns,omitempty"`
	NetNSID netns.ID        `json:"netnsID,omitzero"`
	Created time.Time       `json:"created"`
	Config  json.RawMessage `json:"config,omitempty"` // what Add was given, so that a Del without a caller can be made from it

	Path []string          `json:"path,omitempty"` // where Add looked for other plugins
	Args map[string]string `json:"args,omitempty"` // CNI_ARGS of Add

	HostIfName string                `json:"hostIfname,omitempty"`
	MAC        MAC                   `json:"mac,omitempty"`
	Addresses  []netip.Prefix        `json:"addresses,omitempty"`
	Ports      []plugins.PortMapping `json:"ports,omitempty"`
	Aliases    []string              `json:"aliases,omitempty"`
	Result     *plugins.Result       `json:"result,omitempty"` // once ready
	Driven     json.RawMessage       `json:"driven,omitempty"` // what the driver itself must remember
}

// Alive tells whether the namespace that the record names still exists and is
// still the same one: a path such as /proc/PID/ns/net may meanwhile belong to
// another process.
func (r *Record) Alive() bool { return r.NetNSID.Is(r.NetNS) }

// MAC is a hardware address that reads and writes as text.
type MAC net.HardwareAddr

func (m MAC) String() string               { return net.HardwareAddr(m).String() }
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = nil
		return nil
	}
	hw, err := net.ParseMAC(string(text))
	*m = MAC(hw)
	return err
}

var bucket = []byte("endpoints")

// separator cannot occur in a network's name, a container id or an ifname.
const separator = "\x00"

func (k Key) bytes() []byte {
	return []byte(k.Network + separator + k.ContainerID + separator + k.IfName)
}

// Put writes the record, over an older one of the same key.
func Put(tx *state.Tx, r *Record) error {
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return fmt.Errorf("record endpoint %s: %w", r.Key, err)
	}
	raw, err := coldjson.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode endpoint %s: %w", r.Key, err)
	}
	if err := b.Put(r.bytes(), raw); err != nil {
		return fmt.Errorf("record endpoint %s: %w", r.Key, err)
	}
	return nil
}

// Get reads one record, or fails with ErrNotFound.
func Get(tx *state.Tx, k Key) (*Record, error) {
	b := tx.Bucket(bucket)
	if b == nil {
		return nil, fmt.Errorf("read endpoint %s: %w", k, ErrNotFound)
	}
	raw := b.Get(k.bytes())
	if raw == nil {
		return nil, fmt.Errorf("read endpoint %s: %w", k, ErrNotFound)
	}
	r := new(Record)
	if err := coldjson.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("decode endpoint %s: %w", k, err)
	}
	return r, nil
}

// Delete erases one record. One that is not there is success.
func Delete(tx *state.Tx, k Key) error {
	b := tx.Bucket(bucket)
	if b == nil {
		return nil
	}
	if err := b.Delete(k.bytes()); err != nil {
		return fmt.Errorf("erase endpoint %s: %w", k, err)
	}
	return nil
}

// List reads the records of one network, or all where network is empty, in
// the order of their keys.
func List(tx *state.Tx, network string) ([]*Record, error) {
	b := tx.Bucket(bucket)
	if b == nil {
		return nil, nil
	}
	var prefix []byte
	if network != "" {
		prefix = []byte(network + separator)
	}
	var records []*Record
	c := b.Cursor()
	for k, raw := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, raw = c.Next() {
		r := new(Record) // of the many that a list may have, each costs less here than by coldjson
		if err := json.Unmarshal(raw, r); err != nil {
			return nil, fmt.Errorf("decode endpoint %s: %w", bytes.ReplaceAll(k, []byte(separator), []byte("/")), err)
		}
		records = append(records, r)
	}
	return records, nil
}

// Walk hands every record to visit as it is stored, for those who need only
// some of it, or only what has changed. raw is valid during the call.
func Walk(tx *state.Tx, visit func(k Key, raw []byte) error) error {
	b := tx.Bucket(bucket)
	if b == nil {
		return nil
	}
	return b.ForEach(func(key, raw []byte) error {
		parts := strings.Split(string(key), separator)
		if len(parts) != 3 {
			return fmt.Errorf("read endpoints: key %q has %d parts, want 3", key, len(parts))
		}
		return visit(Key{Network: parts[0], ContainerID: parts[1], IfName: parts[2]}, raw)
	})
}

// Has tells whether there is a record, at less cost than Get.
func Has(tx *state.Tx, k Key) bool {
	b := tx.Bucket(bucket)
	return b != nil && b.Get(k.bytes()) != nil
}

// Any tells whether a network has a record, whatever their number.
func Any(tx *state.Tx, network string) bool {
	b := tx.Bucket(bucket)
	if b == nil {
		return false
	}
	prefix := []byte(network + separator)
	k, _ := b.Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}
