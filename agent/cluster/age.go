package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// age is how far a view has come with which etcd. By it a client finds out that
// etcd has lost what the view shows, because it was made anew or restored from a
// backup, also when its revision has become higher than the view's again.
type age struct {
	Identity string `json:"identity"` // of the etcd that was read; empty: none
	Revision int64  `json:"revision"` // of etcd, of the last change
	Key      string `json:"key"`      // the one that was written last, of those there are
	Written  int64  `json:"written"`  // the revision of that
}

// note is told of each key that is written.
func (a *age) note(kv *mvccpb.KeyValue) {
	if kv.ModRevision >= a.Written {
		a.Key, a.Written = string(kv.Key), kv.ModRevision
	}
}

// ageNow is that of the view.
func (v *View) ageNow() age {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.age
}

// isRewound tells whether etcd has lost something of what the view shows, and
// what etcd is known by. The view's age is read first, for the watch goes on
// meanwhile.
func (c *Client) isRewound(ctx context.Context) (rewound bool, identity string, err error) {
	known := c.view.ageNow()
	identity, revision, err := c.identify(ctx)
	if err != nil || known.Identity == "" {
		return false, identity, err
	}
	if identity != known.Identity || revision < known.Revision {
		return true, identity, nil
	}
	rewound, err = c.isForgotten(ctx, known)
	return rewound, identity, err
}

// identify reads the text that this etcd is known by, and gives it one where it
// has none. The revision is etcd's then.
func (c *Client) identify(ctx context.Context) (text string, revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text = rand.Text()
	got, err := c.etcd.Txn(ctx).If(absent(identityKey)).
		Then(clientv3.OpPut(identityKey, text)).
		Else(clientv3.OpGet(identityKey)).Commit()
	if err := c.seen("read etcd", err); err != nil {
		return "", 0, err
	}
	if !got.Succeeded {
		text = string(got.Responses[0].GetResponseRange().Kvs[0].Value)
	}
	return text, got.Header.Revision, nil
}

// isForgotten tells whether something else was written at the revision at which
// a key was. What etcd has compacted nobody can tell.
func (c *Client) isForgotten(ctx context.Context, known age) (bool, error) {
	if known.Key == "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := c.etcd.Get(ctx, known.Key, clientv3.WithRev(known.Written), clientv3.WithKeysOnly())
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return false, nil
	case errors.Is(err, rpctypes.ErrFutureRev):
		return true, nil
	case err != nil:
		return false, c.seen("read etcd", err)
	}
	return len(got.Kvs) == 0 || got.Kvs[0].ModRevision != known.Written, nil
}

// rename gives a rewound etcd another text, unless somebody has done so, and
// returns the one that it has. A host that was away meanwhile knows the text of
// before: it may be back only when etcd has compacted all that isForgotten
// compares.
func (c *Client) rename(ctx context.Context) (string, error) {
	if c.allowed(ctx) != nil {
		text, _, err := c.identify(ctx)
		return text, err
	}
	known, text := c.view.ageNow().Identity, rand.Text()
	done, _, err := c.transact(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.Value(identityKey), "=", known)}, []clientv3.Op{clientv3.OpPut(identityKey, text)}, nil)
	if err != nil {
		return "", fmt.Errorf("note that etcd was rewound: %w", err)
	}
	if !done {
		text, _, err = c.identify(ctx)
	}
	return text, err
}
