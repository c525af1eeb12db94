package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// memory is what an agent keeps in a file for the next one of the same boot,
// so that it can give out addresses of its blocks while etcd is away: the
// networks and this host's blocks, by etcd's keys, how far etcd had come, and
// when it answered last.
type memory struct {
	Keys  map[string]json.RawMessage `json:"keys"`
	Age   age                        `json:"age"`
	Seen  time.Duration              `json:"seen"`  // since boot: the file does not outlive it, and clocks are set
	Names map[string]netip.Addr      `json:"names"` // see Client.names
}

// Remember writes the memory file at path. A client that etcd has told nothing
// leaves it as it is.
func (c *Client) Remember(path string) error {
	seen, _ := c.Health()
	if !c.IsSynced() || seen.IsZero() {
		return nil
	}
	uptime, err := sinceBoot()
	if err != nil {
		return err
	}
	c.remembering.Lock() // an Add and a repair may both have something new
	defer c.remembering.Unlock()
	c.mu.Lock()
	self := c.self.Name
	c.mu.Unlock()
	return write(path, &memory{Keys: c.view.keysFor(self), Age: c.view.ageNow(), Seen: uptime - time.Since(seen), Names: c.names()})
}

func write(path string, m *memory) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode memory of the cluster: %w", err)
	}
	// A crash leaves the old file or the new one. The page cache is enough for
	// what is of this boot only.
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("write memory of the cluster: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write memory of the cluster: %w", err)
	}
	return nil
}

// Recall reads what an earlier agent remembered into the view, for the time
// until etcd is read. Call it after SetHost and before Run.
func (c *Client) Recall(path string) error {
	raw, err := os.ReadFile(filepath.Clean(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read memory of the cluster: %w", err)
	}
	var m memory
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("decode memory of the cluster %s: %w", path, err)
	}
	uptime, err := sinceBoot()
	if err != nil {
		return err
	}
	c.view.mu.Lock()
	for k, v := range m.Keys {
		c.report(c.view.put(k, v, 0, new(Change)))
	}
	c.view.age = m.Age
	c.view.mu.Unlock()
	c.mu.Lock()
	c.lastSeen = time.Now().Add(m.Seen - uptime)
	c.predecessors = maps.Clone(m.Names)
	delete(c.predecessors, c.self.Name)
	c.mu.Unlock()
	if len(c.names()) == len(m.Names) {
		return nil
	}
	// Before anything is this host's by the new name: the next agent may have
	// a third one.
	m.Names = c.names()
	return write(path, &m)
}

func sinceBoot() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, fmt.Errorf("read the time since boot: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// IsSynced tells whether the view is etcd's, not only a memory.
func (c *Client) IsSynced() bool {
	select {
	case <-c.synced:
		return true
	default:
		return false
	}
}

// keysFor are the keys that memory has, with their values.
func (v *View) keysFor(self string) map[string]json.RawMessage {
	v.mu.RLock()
	defer v.mu.RUnlock()
	keys := map[string]json.RawMessage{}
	add := func(k string, value any) {
		if raw, err := json.Marshal(value); err == nil {
			keys[k] = raw
		}
	}
	for name, n := range v.networks {
		add(networkKey(name), n)
	}
	for network, of := range v.blocks {
		for p, host := range of {
			if host == self {
				add(blockKey(network, p), owner{host})
			}
		}
	}
	return keys
}
