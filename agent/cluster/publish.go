package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/berth-net/berth/internal/pause"
)

// batch is how many keys one transaction writes: etcd's default limit is 128.
const batch = 100

// SetHost says who this host is, now or anew: its address may change.
func (c *Client) SetHost(h Host) error {
	c.mu.Lock()
	moved := c.self.Address.IsValid() && c.self.Address != h.Address
	if moved {
		c.former[c.self.Address] = true
	}
	c.self = h
	c.mu.Unlock()
	err := c.set(map[string]any{hostKey(h.Name): h}, nil)
	if moved {
		c.line.hangUp()
	}
	return err
}

// PublishEndpoint tells the cluster of an endpoint of this host. It does not
// wait: what etcd misses while it is away it is told later.
func (c *Client) PublishEndpoint(e *Endpoint) error {
	return c.set(map[string]any{endpointKey(e): e}, nil)
}

// WithdrawEndpoint tells the cluster that an endpoint of this host is gone.
func (c *Client) WithdrawEndpoint(e *Endpoint) error {
	return c.set(nil, []string{endpointKey(e)})
}

// SetEndpoints says all endpoints of this host: what is not among them goes.
func (c *Client) SetEndpoints(all []*Endpoint) error {
	put := map[string]any{}
	for _, e := range all {
		put[endpointKey(e)] = e
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = true
	var gone []string
	for k := range c.want {
		if _, ok := put[k]; !ok && strings.HasPrefix(k, key(kindEndpoint)+"/") {
			gone = append(gone, k)
		}
	}
	return c.setLocked(put, gone)
}

func (c *Client) set(put map[string]any, gone []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setLocked(put, gone)
}

// setLocked is set while c.mu is held.
func (c *Client) setLocked(put map[string]any, gone []string) error {
	for k, v := range put {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode %s: %w", k, err)
		}
		c.want[k] = string(raw)
	}
	for _, k := range gone {
		delete(c.want, k)
	}
	c.rouse()
	return nil
}

// rouse has etcd told what it does not have.
func (c *Client) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// publish keeps a lease and on it what this host wants published.
func (c *Client) publish(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.session(ctx); err != nil && ctx.Err() == nil {
			c.options.Log.Warn("this host is not published", "err", err)
		}
		if !pause.For(ctx, retry) {
			return
		}
	}
}

// session lasts as long as one lease.
func (c *Client) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := c.begin(ctx); err != nil {
		return err
	}
	beats, err := c.etcd.KeepAlive(ctx, c.lease)
	if err != nil {
		return c.seen("keep lease", err)
	}
	for {
		if err := c.flush(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wake:
		case beat := <-beats:
			if beat == nil {
				return c.seen("keep lease", errors.New("the lease has ended"))
			}
			c.seen("keep lease", nil)
		}
	}
}

// begin takes a lease, finds what an earlier life of this agent published,
// and checks that the host's name is its own.
func (c *Client) begin(ctx context.Context) error {
	select {
	case <-c.synced: // so the schema is this one, too
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c.mu.Lock()
	self := c.self
	c.mu.Unlock()
	rewound, _, err := c.isRewound(ctx)
	if err != nil {
		return err
	}
	if rewound {
		c.reread()
	}
	got, err := c.etcd.Get(ctx, hostKey(self.Name))
	if err != nil {
		return c.seen("read etcd", err)
	}
	var there Host
	if len(got.Kvs) > 0 && json.Unmarshal(got.Kvs[0].Value, &there) == nil {
		err = c.namesakeOf(&self, &there)
	}
	c.admit(err)
	if err != nil {
		return err
	}
	lease, err := c.etcd.Grant(ctx, int64(c.options.TTL/time.Second))
	if err != nil {
		return c.seen("take lease", err)
	}
	c.seen("take lease", nil)
	return c.inherit(ctx, lease.ID)
}

// namesake is an error unless the host that the cluster has by this one's name
// is this one, in an earlier life of its agent. That has this boot's identity.
// A copy of this machine, made while it ran, has it too, but another address
// than this agent ever had; and so has this one when its address changed while
// no agent ran, until the lease of that life ends.
func (c *Client) namesakeOf(self, there *Host) error {
	c.mu.Lock()
	had := c.former[there.Address]
	c.mu.Unlock()
	switch {
	case there.Instance != self.Instance:
		return fmt.Errorf("join the cluster as %s: %w: it is at %s; choose another with --name", self.Name, ErrNameTaken, there.Address)
	case there.Address != self.Address && !had:
		return fmt.Errorf("join the cluster as %s: %w, and this one's identity: it is at %s; if it is a copy of this host, reboot it by another name", self.Name, ErrNameTaken, there.Address)
	}
	return nil
}

// admit notes whether the host's name is its own.
func (c *Client) admit(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun, c.namesake = true, err
	c.stir()
	if err == nil && len(c.predecessors) > 0 && c.unwatch != nil {
		c.unwatch() // another host had the name when the cluster was read
	}
}

// Admitted fails with ErrNameTaken where another host has this one's name: then
// what the cluster has by that name is not this one's to give; and with
// ErrSchema. It waits until etcd has said so or not; where etcd does not answer
// what is remembered is good.
func (c *Client) Admitted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c.mu.Lock()
		begun, refused, err, stirred := c.begun, c.refused, c.lastErr, c.stirred
		c.mu.Unlock()
		if refused != nil {
			return refused
		}
		if begun || err != nil && !c.IsSynced() {
			return c.Namesake()
		}
		select {
		case <-stirred:
		case <-ctx.Done():
			return fmt.Errorf("join the cluster: %w: %w", ErrAway, ctx.Err())
		}
	}
}

// Namesake is what is known of another host with this one's name; nil: none.
func (c *Client) Namesake() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.namesake
}

// inherit notes the keys on older leases of this host as neither published
// nor forgotten: flush puts them on the new lease, or deletes them.
func (c *Client) inherit(ctx context.Context, lease clientv3.LeaseID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lease, c.have = lease, map[string]string{}
	c.view.mu.RLock()
	defer c.view.mu.RUnlock()
	for _, of := range c.view.endpoints {
		for k, e := range of.all {
			if e.Host == c.self.Name {
				c.have[k] = ""
			}
		}
	}
	return nil
}

// flush writes the difference between what is wanted and what etcd has.
func (c *Client) flush(ctx context.Context) error {
	c.mu.Lock()
	want, complete, estate := maps.Clone(c.want), c.complete, len(c.estate)
	ops := c.changes(complete)
	c.mu.Unlock()
	if estate > 0 && !complete {
		return nil // the others are told in one step that this host has another name
	}
	for some := range slices.Chunk(ops, batch) {
		if err := c.commit(ctx, some); err != nil {
			return err
		}
	}
	c.mu.Lock()
	if !complete { // then, whatever it is now: what was not deleted is there
		for k, v := range c.have {
			if _, ok := want[k]; !ok {
				want[k] = v
			}
		}
	}
	c.have, c.estate = want, c.estate[estate:]
	c.stir()
	c.mu.Unlock()
	return nil
}

// changes are that difference. What this host does not want it deletes only
// where it wants what is complete: an agent that has just begun has not read its
// records yet. c.mu is held.
func (c *Client) changes(complete bool) (ops []clientv3.Op) {
	host := hostKey(c.self.Name)
	for k, v := range c.want {
		if old, ok := c.have[k]; !ok || old != v {
			ops = append(ops, clientv3.OpPut(k, v, clientv3.WithLease(c.lease)))
			if k == host { // first: an endpoint whose host is not known is nowhere
				ops[0], ops[len(ops)-1] = ops[len(ops)-1], ops[0]
			}
		}
	}
	for k := range c.have {
		if _, ok := c.want[k]; !ok && complete {
			ops = append(ops, clientv3.OpDelete(k))
		}
	}
	for _, k := range c.estate {
		ops = append(ops, clientv3.OpDelete(k))
	}
	if c.view.deadMark(c.self.Name) != "" {
		ops = append(ops, clientv3.OpDelete(key(kindDead, c.self.Name)))
	}
	return ops
}

// AwaitPublished waits until etcd has an endpoint as it was published last, or
// ctx ends.
func (c *Client) AwaitPublished(ctx context.Context, e *Endpoint) {
	k := endpointKey(e)
	for {
		c.mu.Lock()
		told, stirred := c.have[k] == c.want[k], c.stirred
		c.mu.Unlock()
		if told {
			return
		}
		select {
		case <-stirred:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Client) commit(ctx context.Context, ops []clientv3.Op) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := c.etcd.Txn(ctx).Then(ops...).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("publish this host: %w", err)
	}
	return c.seen("write etcd", err)
}
