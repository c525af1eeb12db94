package cluster

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/berth-net/berth/internal/pause"
)

// retry is how long after a failure etcd is tried again.
const retry = 500 * time.Millisecond

// page is how many keys one answer of the first reading has, to bound memory.
const page = 500

// follow reads everything and then watches; and again from the start when the
// watch ends, because etcd may have compacted what was missed.
func (c *Client) follow(ctx context.Context) {
	for {
		lines := c.line.count()
		revision, err := c.load(ctx)
		if err == nil {
			c.once.Do(func() { close(c.synced) })
			err = c.watch(ctx, revision+1, lines)
		}
		if err != nil && ctx.Err() == nil {
			c.options.Log.Warn("the view of the cluster is behind", "err", c.explain(ctx, err))
		}
		if !pause.For(ctx, retry) {
			return
		}
	}
}

// load replaces the view by what etcd has at one revision.
func (c *Client) load(ctx context.Context) (int64, error) {
	if err := c.checkSchema(ctx); err != nil {
		return 0, err
	}
	fresh, scratch := newView(), new(Change)
	rewound, identity, err := c.isRewound(ctx)
	if err != nil {
		return 0, err
	}
	fresh.age.Identity = identity
	from, end := Root, clientv3.GetPrefixRangeEnd(Root)
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(page)}
		if fresh.age.Revision != 0 {
			opts = append(opts, clientv3.WithRev(fresh.age.Revision))
		}
		got, err := c.get(ctx, from, opts...)
		if err != nil {
			return 0, err
		}
		if fresh.age.Revision == 0 {
			fresh.age.Revision = got.Header.Revision
		}
		for _, kv := range got.Kvs {
			c.report(fresh.put(string(kv.Key), kv.Value, kv.ModRevision, scratch))
			fresh.age.note(kv)
			from = string(kv.Key) + "\x00"
		}
		if !got.More {
			return fresh.age.Revision, c.adopt(ctx, fresh, rewound)
		}
	}
}

// checkSchema says which schema this cluster has, where nobody has yet, or
// finds that it is this one. Until it has succeeded nothing else is asked or
// written: a plugin may come before the first reading.
func (c *Client) checkSchema(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := c.etcd.Txn(ctx).If(absent(schemaKey)).
		Then(clientv3.OpPut(schemaKey, strconv.Itoa(schema))).
		Else(clientv3.OpGet(schemaKey)).Commit()
	if err := c.seen("read etcd", err); err != nil {
		return err
	}
	if !got.Succeeded {
		if have := string(got.Responses[0].GetResponseRange().Kvs[0].Value); have != strconv.Itoa(schema) {
			err = fmt.Errorf("%w: the cluster's is %s, this berth knows %d; upgrade it", ErrSchema, have, schema)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked, c.refused = true, err
	c.stir()
	return err
}

// allowed fails where the cluster's keys are not of this berth's schema, or are
// another host's of the same name.
func (c *Client) allowed(ctx context.Context) error {
	c.mu.Lock()
	checked, err := c.checked, cmp.Or(c.refused, c.namesake)
	c.mu.Unlock()
	if !checked {
		return c.checkSchema(ctx)
	}
	return err
}

func (c *Client) adopt(ctx context.Context, fresh *View, rewound bool) error {
	if err := c.succeed(ctx, fresh); err != nil {
		return err
	}
	if rewound {
		c.options.Log.Warn("etcd has lost what it knew; reading it anew")
		if err := c.restoreOwners(ctx, fresh); err != nil {
			return err
		}
		// Who is away must find out too, however far etcd has come until then.
		var err error
		if fresh.age.Identity, err = c.rename(ctx); err != nil {
			return err
		}
	}
	c.loseTo(fresh, rewound)
	v := c.view
	v.mu.Lock()
	v.age = fresh.age
	v.networks, v.hosts, v.dead = fresh.networks, fresh.hosts, fresh.dead
	v.endpoints, v.blocks, v.claims = fresh.endpoints, fresh.blocks, fresh.claims
	v.mu.Unlock()
	c.options.OnChange(Change{Full: true})
	return nil
}

func (c *Client) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := c.etcd.Get(ctx, key, opts...)
	return got, c.seen("read etcd", err)
}

// lagPatience is how long Lag waits: who asks is looking at a terminal.
const lagPatience = time.Second

// Lag asks etcd how many keys have changed that the view does not show yet (at
// most a page of them), and how long the answer took.
func (c *Client) Lag(ctx context.Context) (behind int, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lagPatience)
	defer cancel()
	begin := time.Now()
	got, err := c.get(ctx, Root, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(page),
		clientv3.WithMinModRev(c.view.Revision()+1))
	if err != nil {
		return 0, 0, err
	}
	return len(got.Kvs), time.Since(begin), nil
}

// reread ends the watch, so that follow reads everything anew. On an etcd that
// has lost what the view shows a watch would wait for a revision that comes only
// after many changes, or never have seen those before.
func (c *Client) reread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unwatch != nil {
		c.unwatch()
	}
}

// watch applies what changes from a revision on, as long as there are no more
// connections than were made when it was read.
func (c *Client) watch(ctx context.Context, from int64, lines int) error {
	// Without a leader a watch would wait in silence (a server that is cut off
	// from the others still answers).
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	c.mu.Lock()
	c.unwatch = cancel
	c.mu.Unlock()
	if c.line.count() != lines {
		return nil
	}
	for got := range c.etcd.Watch(ctx, Root, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithProgressNotify()) {
		if err := got.Err(); err != nil {
			return c.seen("watch etcd", err)
		}
		c.seen("watch etcd", nil)
		c.apply(got.Header.Revision, got.Events)
	}
	return nil
}

func (c *Client) apply(revision int64, events []*clientv3.Event) {
	change := new(Change)
	c.view.mu.Lock()
	c.view.age.Revision = revision
	for _, e := range events {
		if e.Type == mvccpb.DELETE {
			c.report(c.view.drop(string(e.Kv.Key), change))
		} else {
			c.report(c.view.put(string(e.Kv.Key), e.Kv.Value, e.Kv.ModRevision, change))
			c.view.age.note(e.Kv)
		}
	}
	c.view.mu.Unlock()
	if !change.empty() {
		c.options.OnChange(*change)
	}
}

func (c *Client) report(err error) {
	if err != nil {
		c.options.Log.Warn("skip a key of the cluster", "err", err)
	}
}
