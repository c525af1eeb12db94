package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// attachment is what the catalogue remembers of one Attach, beside the record
// that a driver keeps for itself: the whole chain as it was then, so that
// Detach works when the network's file has changed or gone.
type attachment struct {
	endpoint.Key
	Phase    endpoint.Phase  `json:"phase"`
	Created  time.Time       `json:"created"`
	Endpoint Endpoint        `json:"endpoint"`
	NetNSID  netns.ID        `json:"netnsID"`
	Chain    chain           `json:"chain"`
	Result   *plugins.Result `json:"result,omitempty"` // once ready
}

// alive tells whether the namespace that was attached still exists.
func (a *attachment) alive() bool {
	r := endpoint.Record{NetNS: a.Endpoint.NetNS, NetNSID: a.NetNSID}
	return r.Alive()
}

var (
	attachmentsBucket = []byte("attachments")
	displacedBucket   = []byte("displaced default routes")
)

const separator = "\x00"

// attachmentKey begins with the container: what is asked most is what one
// container has.
func attachmentKey(k endpoint.Key) []byte {
	return []byte(k.ContainerID + separator + k.Network + separator + k.IfName)
}

func putAttachment(tx *state.Tx, a *attachment) error {
	raw, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode attachment %s: %w", a.Key, err)
	}
	b, err := tx.CreateBucketIfNotExists(attachmentsBucket)
	if err == nil {
		err = b.Put(attachmentKey(a.Key), raw)
	}
	if err != nil {
		return fmt.Errorf("record attachment %s: %w", a.Key, err)
	}
	return nil
}

func deleteAttachment(tx *state.Tx, k endpoint.Key) error {
	b := tx.Bucket(attachmentsBucket)
	if b == nil {
		return nil
	}
	if err := b.Delete(attachmentKey(k)); err != nil {
		return fmt.Errorf("erase attachment %s: %w", k, err)
	}
	return nil
}

// attachmentsOf reads those of a container, or all where container is empty.
func attachmentsOf(tx *state.Tx, container string) ([]*attachment, error) {
	b := tx.Bucket(attachmentsBucket)
	if b == nil {
		return nil, nil
	}
	var prefix []byte
	if container != "" {
		prefix = []byte(container + separator)
	}
	var all []*attachment
	c := b.Cursor()
	for k, raw := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, raw = c.Next() {
		a := new(attachment)
		if err := json.Unmarshal(raw, a); err != nil {
			return nil, fmt.Errorf("decode attachment %s: %w", strings.ReplaceAll(string(k), separator, "/"), err)
		}
		all = append(all, a)
	}
	return all, nil
}

func (c *Catalogue) attachmentsOf(container string) (all []*attachment, err error) {
	err = c.store.View(func(tx *state.Tx) (err error) {
		all, err = attachmentsOf(tx, container)
		return err
	})
	return all, err
}

func (c *Catalogue) attachment(k endpoint.Key) (*attachment, error) {
	all, err := c.attachmentsOf(k.ContainerID)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Key == k {
			return a, nil
		}
	}
	return nil, nil
}

// finish marks an attachment ready; of a chain without a driver of ours,
// which would have done so, it also writes the endpoint's record.
func (c *Catalogue) finish(a *attachment, result *plugins.Result) error {
	a.Phase, a.Result = endpoint.Ready, result
	return c.store.Update(func(tx *state.Tx) error {
		if !a.Chain.keepsRecord() {
			if err := endpoint.Put(tx, a.record()); err != nil {
				return err
			}
		}
		return putAttachment(tx, a)
	})
}

func (c *Catalogue) erase(a *attachment) error {
	return c.store.Update(func(tx *state.Tx) error {
		var own error
		if !a.Chain.keepsRecord() {
			own = endpoint.Delete(tx, a.Key)
		}
		return errors.Join(own, deleteAttachment(tx, a.Key))
	})
}

// record is the endpoint's record of a chain of plugins of others.
func (a *attachment) record() *endpoint.Record {
	r := &endpoint.Record{
		Key: a.Key, Driver: a.Chain.driver(), Phase: a.Phase, Owner: owner, Name: a.Endpoint.Name,
		NetNS: a.Endpoint.NetNS, NetNSID: a.NetNSID, Created: a.Created,
		Ports: a.Endpoint.Ports, Aliases: a.Endpoint.Aliases, Result: a.Result,
	}
	if a.Result == nil {
		return r
	}
	for _, i := range a.Result.Interfaces {
		if i.Name == a.IfName && i.Sandbox != "" {
			r.MAC = endpoint.MAC(i.MAC)
		}
	}
	for _, ip := range a.Result.IPs {
		r.Addresses = append(r.Addresses, ip.Address)
	}
	return r
}

// displaced reads the default routes that the container had from somebody
// else, and that one of its networks has taken the place of.
func (c *Catalogue) displaced(container string) (routes []netdev.Default, err error) {
	err = c.store.View(func(tx *state.Tx) error {
		b := tx.Bucket(displacedBucket)
		if b == nil {
			return nil
		}
		raw := b.Get([]byte(container))
		if raw == nil {
			return nil
		}
		if err := json.Unmarshal(raw, &routes); err != nil {
			return fmt.Errorf("decode displaced routes of %s: %w", container, err)
		}
		return nil
	})
	return routes, err
}

func (c *Catalogue) setDisplaced(container string, routes []netdev.Default) error {
	return c.store.Update(func(tx *state.Tx) error {
		b, err := tx.CreateBucketIfNotExists(displacedBucket)
		if err != nil {
			return fmt.Errorf("record displaced routes: %w", err)
		}
		if len(routes) == 0 {
			return b.Delete([]byte(container))
		}
		raw, err := json.Marshal(routes)
		if err != nil {
			return fmt.Errorf("encode displaced routes: %w", err)
		}
		return b.Put([]byte(container), raw)
	})
}
