package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// lost is a network that etcd had and has no more, though this host did not
// see it removed: etcd was made anew or restored from a backup, or the network
// went while the host was cut off.
type lost struct {
	network *Network
	owners  map[string]string // hosts by the keys of their blocks and claims
	rewound bool              // etcd has lost more
}

// loseTo notes what the view has and a fresh one lacks, of an etcd that has been
// rewound or not.
func (c *Client) loseTo(fresh *View, rewound bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view.mu.RLock()
	defer c.view.mu.RUnlock()
	for name, n := range c.view.networks {
		if fresh.networks[name] == nil {
			c.lost[name] = &lost{network: n, owners: c.view.ownersIn(name), rewound: rewound}
		}
	}
	maps.DeleteFunc(c.lost, func(name string, _ *lost) bool { return fresh.networks[name] != nil })
	if rewound {
		c.recovering = time.Now().Add(c.options.TTL)
	}
}

// IsRecovering tells whether what the view lacks may be there: etcd has not been
// read yet, or has lost what it knew so lately that the other hosts may not have
// told it again.
func (c *Client) IsRecovering() bool {
	if !c.IsSynced() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.recovering)
}

// ownersIn are the hosts that give out a network's addresses, by etcd's keys.
// v.mu is held.
func (v *View) ownersIn(network string) map[string]string {
	owners := map[string]string{}
	for p, host := range v.blocks[network] {
		owners[blockKey(network, p)] = host
	}
	for a, host := range v.claims[network] {
		owners[claimKey(network, a)] = host
	}
	return owners
}

// KeepNetworks makes those of the lost networks again that this host uses. It
// forgets the others, but where etcd has lost everything: then the next ADD
// that names one makes it as it was, not with another VNI than hosts have that
// still use it.
func (c *Client) KeepNetworks(ctx context.Context, used func(network string) bool) error {
	c.mu.Lock()
	maps.DeleteFunc(c.lost, func(name string, l *lost) bool { return !l.rewound && !used(name) })
	names := slices.Sorted(maps.Keys(c.lost))
	c.mu.Unlock()
	var errs []error
	for _, name := range slices.DeleteFunc(names, func(name string) bool { return !used(name) }) {
		errs = append(errs, c.RemakeNetwork(ctx, name))
	}
	return errors.Join(errs...)
}

// RemakeNetwork makes a network that etcd has lost again, as this host knew
// it: with its VNI, its options, and who gives out which of its addresses. It
// fails with ErrNoNetwork where this host knows of none.
//
// All hosts that have lost it may try at once: the first one succeeds, and a
// network of this name that is there is success for the others, whatever it
// is. A VNI that belongs to another network by now is ErrVNITaken.
func (c *Client) RemakeNetwork(ctx context.Context, name string) error {
	c.mu.Lock()
	l := c.lost[name]
	c.mu.Unlock()
	if l == nil {
		return fmt.Errorf("make network %s again: %w", name, ErrNoNetwork)
	}
	// Before the network: as soon as it is there, anybody takes blocks of it.
	for some := range slices.Chunk(slices.Sorted(maps.Keys(l.owners)), batch) {
		if err := c.prepareOwners(ctx, l, some); err != nil {
			return err
		}
	}
	created, err := c.tryCreate(ctx, l.network)
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("make network %s again, which etcd has lost: %w", name, err)
	}
	if created {
		c.options.Log.Warn("etcd had lost a network in use; made it again", "network", name, "vni", l.network.VNI)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.lost, name)
	return nil
}

// restoreOwners gives the addresses of networks that etcd still has back to the
// hosts that had them when it was rewound, before anybody here is given one of
// them. A host that is away cannot do so itself. Some may have been freed since:
// they are freed again, as its host's rules are.
func (c *Client) restoreOwners(ctx context.Context, fresh *View) error {
	if c.allowed(ctx) != nil {
		return nil
	}
	for name, n := range fresh.networks {
		old := c.view.Network(name)
		if old == nil || old.VNI != n.VNI {
			continue
		}
		c.view.mu.RLock()
		owners := c.view.ownersIn(name)
		c.view.mu.RUnlock()
		for k := range fresh.ownersIn(name) {
			delete(owners, k)
		}
		for k, host := range owners {
			// Who was faster has told the same, or has a right to it.
			if _, _, err := c.transact(ctx, []clientv3.Cmp{absent(k), exists(networkKey(name))}, []clientv3.Op{clientv3.OpPut(k, owner{host}.text())}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepareOwners writes some of the keys of a lost network, if nobody else is
// about to.
func (c *Client) prepareOwners(ctx context.Context, l *lost, keys []string) error {
	conditions, puts := []clientv3.Cmp{absent(networkKey(l.network.Name))}, []clientv3.Op(nil)
	for _, k := range keys {
		conditions, puts = append(conditions, absent(k)), append(puts, clientv3.OpPut(k, owner{l.owners[k]}.text()))
	}
	_, _, err := c.transact(ctx, conditions, puts, nil)
	return err
}
