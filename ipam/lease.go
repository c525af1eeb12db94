package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// owner is what is recorded of a holder.
type owner struct {
	Addresses []netip.Addr `json:"addresses"`
	NetNS     string       `json:"netns,omitempty"`
	NetNSID   netns.ID     `json:"netnsID,omitzero"`
	Since     time.Time    `json:"since"`
}

// Lease gives req.Key one address of each range set, or those that it already
// has. It fails with ErrExhausted, ErrInUse or ErrOutOfRange; the error must
// then end the transaction, as returning it from state.Store.Update does.
func Lease(tx *state.Tx, c *Config, req Request) ([]Address, error) {
	addresses, err := lease(tx, c, req)
	if err != nil {
		return nil, withCode(fmt.Errorf("lease address for %s: %w", req.Key, err))
	}
	return addresses, nil
}

// withCode tells a CNI caller whether to ask again: what is held may be given
// back, what the ranges do not have never comes.
func withCode(err error) error {
	switch {
	case errors.Is(err, ErrInUse):
		return &plugins.Error{Code: plugins.CodeTryAgain, Err: err}
	case errors.Is(err, ErrOutOfRange):
		return &plugins.Error{Code: plugins.CodeInvalidConfig, Err: err}
	}
	return err
}

func lease(tx *state.Tx, c *Config, req Request) ([]Address, error) {
	wanted, err := c.wanted(&req)
	if err != nil {
		return nil, err
	}
	x, err := openIndex(tx, req.Key.Network)
	if err != nil {
		return nil, err
	}
	h := holderOf(req.Key)
	old, err := x.owner(h)
	if err != nil {
		return nil, err
	}
	kept := c.keep(old.Addresses, wanted, &req)
	for _, a := range old.Addresses {
		if !slices.Contains(kept, a) {
			if err := x.free(a, h); err != nil {
				return nil, err
			}
		}
	}
	return x.fill(c, req, kept, wanted)
}

// fill leases what each set lacks and records the owner.
func (x index) fill(c *Config, req Request, kept, wanted []netip.Addr) ([]Address, error) {
	h := holderOf(req.Key)
	record := owner{NetNS: req.NetNS, NetNSID: req.NetNSID, Since: time.Now().UTC()}
	leased := make([]Address, len(c.Ranges))
	for i, set := range c.Ranges {
		a := kept[i]
		var err error
		if !a.IsValid() && wanted[i].IsValid() {
			a, err = wanted[i], x.take(set.subnetOf(wanted[i]), wanted[i], h)
		} else if !a.IsValid() {
			a, err = x.takeAny(set, &req, h)
		}
		if err != nil {
			return nil, err
		}
		r := set.subnetOf(a)
		record.Addresses = append(record.Addresses, a)
		leased[i] = Address{Prefix: netip.PrefixFrom(a, r.Subnet.Bits()), Gateway: r.Gateway}
	}
	return leased, x.putOwner(h, record)
}

func (x index) take(r *Range, a netip.Addr, h holder) error {
	u, err := x.get(a)
	if err != nil {
		return err
	}
	if u != nil && u.leased {
		return fmt.Errorf("%w: %s is held by container %s (%s)", ErrInUse, a, u.holder.container, u.holder.ifname)
	}
	return x.lease(a, r, h)
}

// takeAny leases the first free address. Those that the request refuses have
// just been freed, so that a range that offers one has nothing else.
func (x index) takeAny(set RangeSet, req *Request, h holder) (netip.Addr, error) {
	for i := range set {
		a, ok, err := x.pick(&set[i])
		if err != nil {
			return a, err
		}
		if ok && !req.refuses(a) {
			return a, x.lease(a, &set[i], h)
		}
	}
	return netip.Addr{}, plugins.Errorf(plugins.CodeTryAgain,
		"%w: every address of %s is leased, reserved, excluded or another machine's; delete an attachment or widen the range", ErrExhausted, set)
}

// keep is, for each set, the address that the holder has of it already and
// may go on using; invalid where there is none.
func (c *Config) keep(held, wanted []netip.Addr, req *Request) []netip.Addr {
	kept := make([]netip.Addr, len(c.Ranges))
	for i, set := range c.Ranges {
		for _, a := range held {
			if wanted[i].IsValid() && wanted[i] != a || slices.Contains(kept, a) || req.refuses(a) {
				continue
			}
			if c.allows(set, a, req) == nil {
				kept[i] = a
				break
			}
		}
	}
	return kept
}

// Release frees every address of the key. None is success.
func Release(tx *state.Tx, key endpoint.Key) error {
	x, ok := findIndex(tx, key.Network)
	if !ok {
		return nil
	}
	if err := x.release(holderOf(key)); err != nil {
		return fmt.Errorf("release addresses of %s: %w", key, err)
	}
	return nil
}

func (x index) release(h holder) error {
	o, err := x.owner(h)
	if err != nil {
		return err
	}
	for _, a := range o.Addresses {
		if err := x.free(a, h); err != nil {
			return err
		}
	}
	return x.b.Delete(key(keyOwner, h.bytes()))
}

// Leased lists the addresses of the key.
func Leased(tx *state.Tx, key endpoint.Key) ([]netip.Addr, error) {
	x, ok := findIndex(tx, key.Network)
	if !ok {
		return nil, nil
	}
	o, err := x.owner(holderOf(key))
	return o.Addresses, err
}

func (x index) owner(h holder) (o owner, err error) {
	raw := x.b.Get(key(keyOwner, h.bytes()))
	if raw == nil {
		return o, nil
	}
	if err := coldjson.Unmarshal(raw, &o); err != nil {
		return o, fmt.Errorf("decode leases of container %s: %w", h.container, err)
	}
	return o, nil
}

func (x index) putOwner(h holder, o owner) error {
	raw, err := coldjson.Marshal(o)
	if err != nil {
		return err
	}
	return x.b.Put(key(keyOwner, h.bytes()), raw)
}
