package dns

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/resolvconf"
	"github.com/berth-net/berth/state"
)

// Directory is the endpoints of this host. It looks at the database's version
// for every question and reads it again only when it has changed, so that
// what has just come or gone is known, and a host at rest costs nothing.
type Directory struct {
	store   *state.Store
	current atomic.Pointer[snapshot]

	mu      sync.Mutex // held by who reads the database
	seed    maphash.Seed
	decoded map[endpoint.Key]decoded
}

// decoded is a record that has been read, and the hash of its text: of a
// thousand records one has changed, as a rule.
type decoded struct {
	sum uint64
	ep  *Endpoint
}

// NewDirectory reads nothing yet.
func NewDirectory(store *state.Store) *Directory {
	return &Directory{store: store, seed: maphash.MakeSeed(), decoded: map[endpoint.Key]decoded{}}
}

// Endpoint is what names need of an attachment's record.
type Endpoint struct {
	endpoint.Key
	Name      string         // of the container
	Aliases   []string       // on this network
	Addresses []netip.Prefix // with the length of their subnets

	Driver   string
	NetNS    string // path
	NetNSID  netns.ID
	Created  time.Time
	Internal bool        // the network leads nowhere else
	Served   bool        // the network's configuration has "names": true
	Server   bool        // the container publishes a port 53: it is a nameserver itself
	DNS      plugins.DNS // what the network says

	seen atomic.Int64 // when it was alive: nanoseconds since the epoch
}

// glance is how long an endpoint that was alive is taken to be: under load to
// look for each answer is a third of its cost, and a death that nobody has
// recorded is not known sooner anywhere.
const glance = 20 * time.Millisecond

// Alive tells whether the container's namespace is still there, or was a
// glance ago. An endpoint on another host has none that could be looked at.
func (e *Endpoint) Alive() bool {
	if e.NetNS == "" {
		return true
	}
	now := time.Now().UnixNano()
	if since := now - e.seen.Load(); 0 <= since && since < int64(glance) {
		return true
	}
	alive := e.NetNSID.Is(e.NetNS)
	if alive {
		e.seen.Store(now)
	}
	return alive
}

// snapshot is the state of now. When the database cannot be read, it is the
// last one that could: better a name of a moment ago than none.
func (d *Directory) snapshot() (*snapshot, error) {
	if s := d.current.Load(); s != nil && s.settled {
		if v, _, err := d.store.Version(); err == nil && v == s.version {
			return s, nil
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.current.Load()
	v, settled, err := d.store.Version()
	if err == nil && last != nil && last.settled && last.version == v {
		return last, nil // somebody else has just read it
	}
	var all []*Endpoint
	if err == nil {
		all, err = d.read()
	}
	if err != nil {
		if last != nil {
			return last, nil
		}
		return nil, err
	}
	s := newSnapshot(all)
	s.version, s.settled = v, settled
	d.current.Store(s)
	return s, nil
}

// read returns the endpoints in the order in which they were made. d.mu is
// held.
func (d *Directory) read() ([]*Endpoint, error) {
	now := make(map[endpoint.Key]decoded, len(d.decoded))
	err := d.store.View(func(tx *state.Tx) error {
		return endpoint.Walk(tx, func(k endpoint.Key, raw []byte) error {
			sum := maphash.Bytes(d.seed, raw)
			if have, ok := d.decoded[k]; ok && have.sum == sum {
				now[k] = have
				return nil
			}
			ep, err := decode(k, raw)
			now[k] = decoded{sum, ep}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	d.decoded = now
	var all []*Endpoint
	for _, r := range now {
		if r.ep != nil {
			all = append(all, r.ep)
		}
	}
	slices.SortFunc(all, func(a, b *Endpoint) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// decode reads a record; of one that is not ready there is no Endpoint.
func decode(k endpoint.Key, raw []byte) (*Endpoint, error) {
	var r endpoint.Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("decode endpoint %s: %w", k, err)
	}
	if r.Phase != endpoint.Ready {
		return nil, nil
	}
	var conf struct {
		Internal bool `json:"internal"`
		Names    bool `json:"names"`
	}
	// The driver has looked at its configuration; that of a chain of plugins
	// of others is not in the record.
	_ = json.Unmarshal(r.Config, &conf)
	e := &Endpoint{
		Key: r.Key, Name: r.Name, Aliases: r.Aliases, Addresses: r.Addresses,
		Driver: r.Driver, NetNS: r.NetNS, NetNSID: r.NetNSID, Created: r.Created,
		Internal: conf.Internal || r.Driver == "none", Served: conf.Names,
		Server: slices.ContainsFunc(r.Ports, IsPort),
	}
	if r.Result != nil && !resolvconf.Empty(r.Result.DNS) {
		e.DNS = r.Result.DNS
	}
	return e, nil
}

// IsPort tells a mapping that publishes a nameserver in a container: such a
// container wants port 53 of every address for itself.
func IsPort(p plugins.PortMapping) bool {
	last := int(p.ContainerPort) + max(int(p.Count), 1) - 1
	return int(p.ContainerPort) <= 53 && 53 <= last
}
