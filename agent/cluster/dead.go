package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Mourner gives the addresses of dead hosts back to the cluster.
//
// A host that is out of reach may live and its containers with it, so its
// addresses are not free when its lease ends. Whoever notices marks it dead;
// an agent that has seen the same mark for all of After, by its own clock,
// frees them. The missing host's agent takes it off its networks well before
// (Fence), so when its addresses are given again nobody else uses them.
type Mourner struct {
	Client *Client
	After  time.Duration // 0: never

	seen map[string]sighting // by host; of one that came back and went again the mark is another
}

type sighting struct {
	mark  string
	since time.Time
}

// Fence is when an agent without etcd gives up its networks, if others free
// its addresses after a time.
func Fence(after time.Duration) time.Duration { return after * 3 / 4 }

// Sweep does what is due. Call it every so often.
func (m *Mourner) Sweep(ctx context.Context) error {
	if m.After == 0 {
		return nil
	}
	for _, host := range m.Client.missingHosts() {
		if err := m.mourn(ctx, host); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mourner) mourn(ctx context.Context, host string) error {
	mark := m.Client.view.deadMark(host)
	if mark == "" {
		return m.Client.markDead(ctx, host)
	}
	if m.seen == nil {
		m.seen = map[string]sighting{}
	}
	if m.seen[host].mark != mark {
		m.seen[host] = sighting{mark: mark, since: time.Now()}
	}
	if time.Since(m.seen[host].since) < m.After {
		return nil
	}
	_, err := m.Client.Forget(ctx, host)
	return err
}

// missingHosts own addresses and are not alive.
func (c *Client) missingHosts() []string {
	c.view.mu.RLock()
	defer c.view.mu.RUnlock()
	missing := map[string]bool{}
	for _, of := range c.view.blocks {
		for _, host := range of {
			missing[host] = c.view.hosts[host] == nil
		}
	}
	for _, of := range c.view.claims {
		for _, host := range of {
			missing[host] = c.view.hosts[host] == nil
		}
	}
	maps.DeleteFunc(missing, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(missing))
}

func (v *View) deadMark(host string) string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return string(v.dead[host])
}

func (c *Client) markDead(ctx context.Context, host string) error {
	raw, err := json.Marshal(map[string]time.Time{"since": time.Now().UTC()})
	if err != nil {
		return err
	}
	_, _, err = c.transact(ctx,
		[]clientv3.Cmp{absent(hostKey(host)), absent(key(kindDead, host))},
		[]clientv3.Op{clientv3.OpPut(key(kindDead, host), string(raw))}, nil)
	return err
}

// Forget frees every block and static address of a host that does not live,
// and tells how many those are. It fails when the host is there.
func (c *Client) Forget(ctx context.Context, host string) (freed int, err error) {
	for _, k := range append(c.view.ownedBy(host), "") {
		// Each only while the dead host has it: another agent may have freed
		// it already, and a third host have taken it.
		conditions, op := []clientv3.Cmp{absent(hostKey(host))}, clientv3.OpDelete(key(kindDead, host))
		if k != "" {
			conditions, op = append(conditions, clientv3.Compare(clientv3.Value(k), "=", owner{host}.text())), clientv3.OpDelete(k)
		}
		done, _, err := c.transact(ctx, conditions, []clientv3.Op{op}, nil)
		if err != nil {
			return freed, err
		}
		if done && k != "" {
			freed++
		}
	}
	if c.view.Host(host) != nil {
		return freed, fmt.Errorf("forget host %s: it is alive; stop its agent first", host)
	}
	return freed, nil
}

// ownedBy lists the keys of a host's addresses.
func (v *View) ownedBy(host string) (keys []string) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for network, of := range v.blocks {
		for p, owner := range of {
			if owner == host {
				keys = append(keys, blockKey(network, p))
			}
		}
	}
	for network, of := range v.claims {
		for a, owner := range of {
			if owner == host {
				keys = append(keys, claimKey(network, a))
			}
		}
	}
	return keys
}
