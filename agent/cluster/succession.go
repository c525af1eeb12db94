package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrSucceeding says that something is this host's by a name that its agent had
// before, and not yet by the one that it has now.
var ErrSucceeding = errors.New("this host has it by a former name and is taking it over")

// succeed makes this host's what its agents of this boot had by other names:
// the addresses of its containers. What those told on their leases, fresh shows
// no more, and flush replaces it.
//
// A copy of a running machine remembers the name of the original too, but is
// at another address.
func (c *Client) succeed(ctx context.Context, fresh *View) error {
	c.mu.Lock()
	self, former := c.self, maps.Clone(c.predecessors)
	c.mu.Unlock()
	for name, at := range former {
		got, err := c.get(ctx, hostKey(name))
		if err != nil {
			return err
		}
		revision, mine := int64(0), at == self.Address
		var there Host
		if len(got.Kvs) > 0 {
			revision = got.Kvs[0].ModRevision
			mine = mine && json.Unmarshal(got.Kvs[0].Value, &there) == nil && c.namesakeOf(&self, &there) == nil
		}
		if !mine {
			c.options.Log.Warn("what this host had by another name is not taken over: either is a copy of the other, or this one has moved; then start it by that name again",
				"name", name, "then", at, "now", self.Address)
			c.settle(name, nil)
			continue
		}
		leased := fresh.disown(name)
		if other := fresh.hosts[self.Name]; other != nil && c.namesakeOf(&self, other) != nil {
			continue // begin says so, and has this done again when the name is free
		}
		if err := c.takeOver(ctx, fresh, name, revision); err != nil {
			return err
		}
		c.options.Log.Info("took over what this host had by another name", "name", name)
		c.settle(name, leased)
	}
	return nil
}

// takeOver writes this host's name into what belongs to it by another, as long
// as no other host has got that name: the revision is that of its key.
func (c *Client) takeOver(ctx context.Context, fresh *View, name string, revision int64) error {
	still := clientv3.Compare(clientv3.ModRevision(hostKey(name)), "=", revision)
	value := owner{c.self.Name}.text()
	for _, k := range fresh.ownedBy(name) {
		done, _, err := c.transact(ctx,
			[]clientv3.Cmp{still, clientv3.Compare(clientv3.Value(k), "=", owner{name}.text())},
			[]clientv3.Op{clientv3.OpPut(k, value)}, nil)
		if err != nil {
			return err
		}
		if done {
			c.report(fresh.put(k, []byte(value), 0, new(Change)))
		}
	}
	for _, k := range c.view.ownedBy(name) { // of which etcd may have lost some
		c.note(k, []byte(value))
	}
	_, _, err := c.transact(ctx, []clientv3.Cmp{still}, []clientv3.Op{clientv3.OpDelete(key(kindDead, name))}, nil)
	return err
}

// settle notes that nothing is left to take over of a name, but what is leased.
func (c *Client) settle(name string, leased []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.predecessors, name)
	c.estate = append(c.estate, leased...)
	c.rouse()
}

// names are those by which this host may have something, with the address that
// it had then.
func (c *Client) names() map[string]netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := maps.Clone(c.predecessors)
	if names == nil {
		names = map[string]netip.Addr{}
	}
	names[c.self.Name] = c.self.Address
	return names
}

// disown takes a host and its endpoints out of a view that nobody uses yet, and
// returns their keys.
func (v *View) disown(host string) (keys []string) {
	if v.hosts[host] != nil {
		delete(v.hosts, host)
		keys = append(keys, hostKey(host))
	}
	for _, of := range v.endpoints {
		for k, e := range of.all {
			if e.Host == host {
				keys = append(keys, k)
				of.drop(k)
			}
		}
	}
	return keys
}
