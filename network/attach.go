package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/flock"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// Endpoint is one attachment to be made.
type Endpoint struct {
	ContainerID string
	Name        string       // of the container, for names and reservations
	NetNS       string       // path
	IfName      string       // empty: the next free ethN of the container
	IPs         []netip.Addr // at most one of each family; none: from the ranges
	MAC         net.HardwareAddr
	Aliases     []string
	Ports       []plugins.PortMapping
	Bandwidth   *plugins.Bandwidth
	DNS         *plugins.DNS

	// GwPriority chooses among the container's networks the one that has its
	// default route: the highest, and of equals the one connected first.
	GwPriority int
}

// Attached is an attachment that stands.
type Attached struct {
	endpoint.Key
	Result *plugins.Result
}

// Attach connects a container to a network. Everything is validated before
// anything is touched, and a failure leaves nothing behind. Errors:
// ErrNoNetwork, ErrAttached, ErrInvalid, and what the drivers return.
func (c *Catalogue) Attach(ctx context.Context, network string, ep Endpoint) (*Attached, error) {
	n, err := c.Get(network)
	if err != nil {
		return nil, err
	}
	if err := ep.validate(n); err != nil {
		return nil, fmt.Errorf("connect to network %s: %w", n.Name, err)
	}
	if n, err = c.materialize(n); err != nil {
		return nil, err
	}
	unlock, err := c.holdFile(n)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var made *Attached
	err = c.withContainer(ctx, ep.ContainerID, func() (err error) {
		made, err = c.attach(ctx, n, ep)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to network %s: %w", n.Name, err)
	}
	return made, nil
}

// holdFile keeps Remove from the network's file while a container is being
// connected.
func (c *Catalogue) holdFile(n *Network) (unlock func(), err error) {
	if n.File == "" {
		return func() {}, nil
	}
	unlock, err = flock.Take(n.File, 0, unix.LOCK_SH)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("network %q: %w: it has just been removed", n.Name, ErrNoNetwork)
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(n.File); err != nil {
		unlock()
		return nil, fmt.Errorf("network %q: %w: it has just been removed", n.Name, ErrNoNetwork)
	}
	return unlock, nil
}

// attach runs with the container's lock held.
func (c *Catalogue) attach(ctx context.Context, n *Network, ep Endpoint) (*Attached, error) {
	ns, err := netns.Open(ep.NetNS)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	a := &attachment{Phase: endpoint.Intent, Created: time.Now().UTC(), Endpoint: ep, Chain: n.chain}
	if a.NetNSID, err = ns.ID(); err != nil {
		return nil, err
	}
	a.Key = endpoint.Key{Network: n.Name, ContainerID: ep.ContainerID, IfName: ep.IfName}
	if err := c.clearStale(ctx, a); err != nil {
		return nil, err
	}
	if err := c.intend(a, ns, n); err != nil {
		return nil, err
	}
	result, err := c.add(ctx, a)
	if err != nil {
		return nil, c.abandon(ctx, a, err)
	}
	if err := c.finish(a, result); err != nil {
		return nil, c.abandon(ctx, a, err)
	}
	if err := c.regulate(a.ContainerID, ns); err != nil {
		return nil, c.abandon(ctx, a, err)
	}
	return &Attached{Key: a.Key, Result: result}, nil
}

// abandon takes back an attachment after cause. What cannot be taken back
// stays on record, for reconcile.
func (c *Catalogue) abandon(ctx context.Context, a *attachment, cause error) error {
	// A cancelled caller must not leave half of it.
	if err := c.del(context.WithoutCancel(ctx), a); err != nil {
		return errors.Join(cause, fmt.Errorf("undo: %w", err))
	}
	return errors.Join(cause, c.erase(a))
}

// clearStale refuses a second attachment to the same network, and undoes one
// whose maker was killed or whose namespace is dead: the container's lock is
// held, so nobody is at work on it.
func (c *Catalogue) clearStale(ctx context.Context, a *attachment) error {
	all, err := c.attachmentsOf(a.ContainerID)
	if err != nil {
		return err
	}
	for _, old := range all {
		dead := old.NetNSID != a.NetNSID || !old.alive()
		switch {
		case old.Phase == endpoint.Ready && !dead && old.Network == a.Network:
			return fmt.Errorf("container %s: %w, as %s", old.who(), ErrAttached, old.IfName)
		case old.Phase == endpoint.Ready && !dead:
			continue
		}
		if err := errors.Join(c.del(ctx, old), c.erase(old)); err != nil {
			return fmt.Errorf("undo what is left of %s: %w", old.Key, err)
		}
	}
	return nil
}

func (a *attachment) who() string {
	if a.Endpoint.Name != "" {
		return a.Endpoint.Name
	}
	return a.ContainerID
}

// intend chooses the interface's name and records the attachment.
func (c *Catalogue) intend(a *attachment, ns *netns.Handle, n *Network) error {
	h, err := netdev.In(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	if a.IfName == "" {
		if a.IfName, err = nextIfName(h, ifnamePrefix(n)); err != nil {
			return err
		}
	} else if _, err := h.Link(a.IfName); err == nil {
		return fmt.Errorf("interface name %q: %w: the container has such an interface", a.IfName, ErrInvalid)
	}
	a.Endpoint.IfName = a.IfName
	return c.store.Update(func(tx *state.Tx) error {
		if !a.Chain.keepsRecord() {
			if err := endpoint.Put(tx, a.record()); err != nil {
				return err
			}
		}
		return putAttachment(tx, a)
	})
}

func ifnamePrefix(n *Network) string {
	for key, value := range n.Options {
		if o := findOption(n.Driver, key); o != nil && o.Name == ifnameOption.Name {
			return value
		}
	}
	return "eth"
}

// nextIfName is the first of prefix0, prefix1, … that the container has not.
func nextIfName(h *netdev.Handle, prefix string) (string, error) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s%d", prefix, i)
		if err := checkIfName(name); err != nil {
			return "", err
		}
		_, err := h.Link(name)
		if errors.Is(err, netdev.ErrNotFound) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// Detach ends one attachment, also when the container, its namespace or the
// network's file is gone. One that is not there is success.
func (c *Catalogue) Detach(ctx context.Context, key endpoint.Key) error {
	err := c.withContainer(ctx, key.ContainerID, func() error { return c.detach(ctx, key) })
	if err != nil {
		return fmt.Errorf("disconnect %s: %w", key, err)
	}
	return nil
}

func (c *Catalogue) detach(ctx context.Context, key endpoint.Key) error {
	a, err := c.attachment(key)
	if err != nil || a == nil {
		return err
	}
	return c.detachNow(ctx, a)
}

// detachNow runs with the container's lock held.
func (c *Catalogue) detachNow(ctx context.Context, a *attachment) error {
	if err := c.del(ctx, a); err != nil {
		return err
	}
	if err := c.erase(a); err != nil {
		return err
	}
	return c.regulateAfter(a)
}

// DetachAll ends every attachment of a container, the last made first.
func (c *Catalogue) DetachAll(ctx context.Context, containerID string) error {
	return c.withContainer(ctx, containerID, func() error {
		all, err := c.attachmentsOf(containerID)
		if err != nil {
			return err
		}
		byAge(all)
		var errs []error
		for i := len(all) - 1; i >= 0; i-- {
			if err := c.detach(ctx, all[i].Key); err != nil {
				errs = append(errs, fmt.Errorf("disconnect %s: %w", all[i].Key, err))
			}
		}
		return errors.Join(errs...)
	})
}
