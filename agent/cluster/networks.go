package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Errors that callers tell apart.
var (
	ErrExists    = errors.New("a network of this name exists")
	ErrNoNetwork = errors.New("the cluster has no such network")
	ErrInUse     = errors.New("the network is in use")
	ErrVNITaken  = errors.New("the VNI belongs to another network")
)

// VNIs that are given to who asks for none. Below are those that people and
// other software choose by hand.
const (
	firstVNI = 1 << 16
	lastVNI  = 1<<24 - 2 // the last one is the agents' own (agent/probe)
)

// attempts bounds how often a change is tried that others got ahead of.
const attempts = 32

// CreateNetwork makes a network. With n.VNI 0 it is given one; configure then
// makes the configuration that has it.
func (c *Client) CreateNetwork(ctx context.Context, n Network, configure func(vni uint32) (json.RawMessage, error)) (*Network, error) {
	chosen := n.VNI != 0
	for range attempts {
		if !chosen {
			n.VNI = c.freeVNI()
		}
		var err error
		if n.Config, err = configure(n.VNI); err != nil {
			return nil, err
		}
		created, err := c.tryCreate(ctx, &n)
		if created || err != nil && (chosen || !errors.Is(err, ErrVNITaken)) {
			return &n, err
		}
	}
	return nil, fmt.Errorf("create network %s: no free VNI found in %d attempts", n.Name, attempts)
}

func (c *Client) freeVNI() uint32 {
	taken := map[uint32]bool{}
	for _, n := range c.view.Networks() {
		taken[n.VNI] = true
	}
	for {
		vni := firstVNI + rand.Uint32N(lastVNI-firstVNI+1)
		if !taken[vni] {
			return vni
		}
	}
}

func (c *Client) tryCreate(ctx context.Context, n *Network) (bool, error) {
	raw, err := json.Marshal(n)
	if err != nil {
		return false, fmt.Errorf("encode network %s: %w", n.Name, err)
	}
	done, answers, err := c.transact(ctx,
		[]clientv3.Cmp{absent(networkKey(n.Name)), absent(vniKey(n.VNI))},
		[]clientv3.Op{clientv3.OpPut(networkKey(n.Name), string(raw)), clientv3.OpPut(vniKey(n.VNI), n.Name)},
		[]clientv3.Op{clientv3.OpGet(networkKey(n.Name)), clientv3.OpGet(vniKey(n.VNI))})
	switch {
	case err != nil:
		return false, err
	case done:
		c.note(networkKey(n.Name), raw)
		return true, nil
	case len(answers[0].GetResponseRange().Kvs) > 0:
		return false, fmt.Errorf("create network %s: %w", n.Name, ErrExists)
	default:
		return false, fmt.Errorf("create network %s: VNI %d: %w: %s", n.Name, n.VNI, ErrVNITaken, answers[1].GetResponseRange().Kvs[0].Value)
	}
}

// RemoveNetwork removes a network that no endpoint is on, anywhere.
func (c *Client) RemoveNetwork(ctx context.Context, name string) error {
	n, err := c.ReadNetwork(ctx, name)
	if err != nil {
		return err
	}
	endpoints := key(kindEndpoint, name) + "/"
	done, answers, err := c.transact(ctx,
		// A comparison of a range holds when it holds for all of its keys.
		[]clientv3.Cmp{absent(endpoints).WithPrefix()},
		[]clientv3.Op{
			clientv3.OpDelete(networkKey(name)), clientv3.OpDelete(vniKey(n.VNI)),
			clientv3.OpDelete(key(kindBlock, name)+"/", clientv3.WithPrefix()),
			clientv3.OpDelete(key(kindClaim, name)+"/", clientv3.WithPrefix()),
		},
		[]clientv3.Op{clientv3.OpGet(endpoints, clientv3.WithPrefix(), clientv3.WithLimit(1))})
	if err != nil || done {
		return err
	}
	return fmt.Errorf("remove network %s: %w by %s", name, ErrInUse, whose(answers[0].GetResponseRange().Kvs[0].Value))
}

func whose(raw []byte) string {
	var e Endpoint
	if json.Unmarshal(raw, &e) != nil {
		return "an endpoint"
	}
	name := e.ContainerID
	if e.Name != "" {
		name = e.Name + " (" + e.ContainerID + ")"
	}
	return fmt.Sprintf("container %s on host %s", name, e.Host)
}

// ReadNetwork asks etcd, not the view: for who has just been told of it.
func (c *Client) ReadNetwork(ctx context.Context, name string) (*Network, error) {
	if err := c.allowed(ctx); err != nil {
		return nil, err
	}
	got, err := c.get(ctx, networkKey(name))
	if err != nil {
		return nil, err
	}
	if len(got.Kvs) == 0 {
		return nil, fmt.Errorf("find network %s: %w", name, ErrNoNetwork)
	}
	n := new(Network)
	if err := json.Unmarshal(got.Kvs[0].Value, n); err != nil {
		return nil, fmt.Errorf("decode network %s: %w", name, err)
	}
	return n, nil
}

func absent(key string) clientv3.Cmp { return clientv3.Compare(clientv3.Version(key), "=", 0) }
func exists(key string) clientv3.Cmp { return clientv3.Compare(clientv3.Version(key), ">", 0) }
