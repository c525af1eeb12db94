package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/berth-net/berth/ipam"
)

// Errors that callers tell apart.
var (
	ErrNoBlock  = errors.New("every block of addresses belongs to a host")
	ErrClaimed  = errors.New("address is taken in the cluster")
	errConflict = errors.New("another host was faster")
)

// maxBlockBits bounds a block of an IPv6 subnet to 65,536 addresses.
const maxBlockBits = 16

// BlockBits is the length of the blocks of a subnet: the square root of it, so
// that there are as many blocks as a block has addresses.
func BlockBits(subnet netip.Prefix) int {
	host := subnet.Addr().BitLen() - subnet.Bits()
	return subnet.Addr().BitLen() - min(host/2, maxBlockBits)
}

// Clip is the part of a range that lies in a block.
func Clip(r ipam.Range, block netip.Prefix) (ipam.Range, bool) {
	first, last := block.Masked().Addr(), lastOf(block)
	if r.Start.Less(first) {
		r.Start = first
	}
	if last.Less(r.End) {
		r.End = last
	}
	return r, !r.End.Less(r.Start)
}

func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return last
}

// BlocksOf lists this host's blocks of a network.
func (c *Client) BlocksOf(network string) []netip.Prefix {
	c.mu.Lock()
	self := c.self.Name
	c.mu.Unlock()
	blocks := c.view.Blocks(network)
	maps.DeleteFunc(blocks, func(_ netip.Prefix, host string) bool { return host != self })
	return slices.SortedFunc(maps.Keys(blocks), netip.Prefix.Compare)
}

// AcquireBlock gives this host one more block of a range set, or fails with
// ErrNoBlock.
func (c *Client) AcquireBlock(ctx context.Context, network string, set ipam.RangeSet) (netip.Prefix, error) {
	refused := map[netip.Prefix]bool{}
	for attempt := range attempts {
		taken := c.view.Blocks(network)
		block, ok := freeBlock(set, func(p netip.Prefix) bool { return taken[p] != "" || refused[p] }, attempt)
		if !ok {
			return block, fmt.Errorf("acquire addresses of network %s: %w", network, ErrNoBlock)
		}
		err := c.own(ctx, network, blockKey(network, block))
		if err == nil {
			return block, nil
		}
		if !errors.Is(err, errConflict) {
			return block, err
		}
		refused[block] = true
	}
	return netip.Prefix{}, fmt.Errorf("acquire addresses of network %s: %w, %d times", network, errConflict, attempts)
}

// freeBlock is the lowest block that nobody has; after a conflict any other,
// so that hosts that start together do not race for each in turn.
func freeBlock(set ipam.RangeSet, taken func(netip.Prefix) bool, attempt int) (netip.Prefix, bool) {
	skip := 0
	if attempt > 0 {
		skip = rand.IntN(8 * attempt)
	}
	var last netip.Prefix
	for _, r := range set {
		bits := BlockBits(r.Subnet)
		for p := netip.PrefixFrom(r.Start, bits).Masked(); p.Addr().Compare(r.End) <= 0; {
			if _, some := Clip(r, p); some && !taken(p) {
				if last = p; skip == 0 {
					return p, true
				}
				skip--
			}
			next := lastOf(p).Next()
			if !next.IsValid() {
				break
			}
			p = netip.PrefixFrom(next, bits)
		}
	}
	return last, last.IsValid()
}

// AcquireAddress makes a static address this host's to give: with its block
// where it lies in a range that blocks are made of, or alone.
func (c *Client) AcquireAddress(ctx context.Context, network string, set ipam.RangeSet, a netip.Addr) error {
	k := claimKey(network, a)
	for _, r := range set {
		if r.Start.Compare(a) <= 0 && a.Compare(r.End) <= 0 {
			k = blockKey(network, netip.PrefixFrom(a, BlockBits(r.Subnet)).Masked())
		}
	}
	err := c.own(ctx, network, k)
	if errors.Is(err, errConflict) {
		return fmt.Errorf("reserve %s in network %s: %w: %w", a, network, ErrClaimed, err)
	}
	return err
}

// ReleaseAddress gives up a static address. One that is not this host's stays.
func (c *Client) ReleaseAddress(ctx context.Context, network string, a netip.Addr) error {
	c.mu.Lock()
	self := owner{c.self.Name}
	c.mu.Unlock()
	k := claimKey(network, a)
	_, _, err := c.transact(ctx,
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value(k), "=", self.text())},
		[]clientv3.Op{clientv3.OpDelete(k)}, nil)
	return err
}

// own writes this host's name into a key that nobody has, while the network
// exists. A key that is this host's already is success.
func (c *Client) own(ctx context.Context, network, k string) error {
	c.mu.Lock()
	self := owner{c.self.Name}
	c.mu.Unlock()
	done, answers, err := c.transact(ctx,
		[]clientv3.Cmp{absent(k), exists(networkKey(network))},
		[]clientv3.Op{clientv3.OpPut(k, self.text())},
		[]clientv3.Op{clientv3.OpGet(k)})
	if err != nil {
		return err
	}
	if done {
		c.note(k, []byte(self.text()))
		return nil
	}
	kvs := answers[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return fmt.Errorf("acquire addresses of network %s: %w", network, ErrNoNetwork)
	}
	var o owner
	if err := json.Unmarshal(kvs[0].Value, &o); err != nil {
		return fmt.Errorf("decode %s: %w", k, err)
	}
	if o == self {
		return nil
	}
	if _, former := c.names()[o.Host]; former {
		return fmt.Errorf("acquire %s, which is of host %s: %w", k, o.Host, ErrSucceeding)
	}
	return fmt.Errorf("%w: host %s gives out %s", errConflict, o.Host, k)
}

// note shows this host's own write in the view before the watch does.
func (c *Client) note(k string, value []byte) {
	c.view.mu.Lock()
	defer c.view.mu.Unlock()
	c.report(c.view.put(k, value, 0, new(Change)))
}

func (c *Client) transact(ctx context.Context, conditions []clientv3.Cmp, then, otherwise []clientv3.Op) (bool, []*etcdserverpb.ResponseOp, error) {
	if err := c.allowed(ctx); err != nil {
		return false, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := c.etcd.Txn(ctx).If(conditions...).Then(then...).Else(otherwise...).Commit()
	if err := c.seen("write etcd", err); err != nil {
		return false, nil, err
	}
	return got.Succeeded, got.Responses, nil
}
