package ipam

import (
	"bytes"
	"net/netip"
)

// pick is the address of the range that the next container gets, or ok false
// when there is none: the lowest one that was never leased, and when there is
// none such, the one that was freed longest ago.
func (x index) pick(r *Range) (a netip.Addr, ok bool, err error) {
	if x.freed(r.scope()) < maxFreed {
		if a, ok = x.pickUnused(r); ok {
			return a, true, nil
		}
	}
	if a, ok, err = x.pickFreed(r, r.scope()); ok || err != nil {
		return a, ok, err
	}
	if a, ok, err = x.pickForeign(r); ok || err != nil {
		return a, ok, err
	}
	a, ok = x.pickUnused(r)
	return a, ok, nil
}

func (x index) pickUnused(r *Range) (netip.Addr, bool) {
	a := r.Start
	for {
		a = x.unused(a)
		if !a.IsValid() || r.End.Less(a) {
			return netip.Addr{}, false
		}
		hole, closed := find(r.Holes, a)
		if !closed {
			return a, true
		}
		if a = hole.Last.Next(); !a.IsValid() {
			return netip.Addr{}, false
		}
	}
}

// pickFreed is the oldest of the queue that the range still has. Those that
// the configuration has since excluded leave the queue, so each is met once.
func (x index) pickFreed(r *Range, scope []byte) (netip.Addr, bool, error) {
	prefix := key(keyQueue, scope)
	var dropped []netip.Addr
	var found netip.Addr
	c := x.b.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		a := parseAddrBytes(v)
		if _, closed := find(r.Holes, a); !closed && r.run().contains(a) {
			found = a
			break
		}
		dropped = append(dropped, a)
	}
	for _, a := range dropped {
		if u, err := x.get(a); err != nil {
			return netip.Addr{}, false, err
		} else if u != nil && !u.leased {
			if err := x.forget(a, u); err != nil {
				return netip.Addr{}, false, err
			}
		}
	}
	return found, found.IsValid(), nil
}

// pickForeign looks into the queues of ranges that overlap this one: those
// that the network had before its configuration was changed.
func (x index) pickForeign(r *Range) (netip.Addr, bool, error) {
	for _, scope := range x.scopes() {
		if bytes.Equal(scope, r.scope()) || !scopeRun(scope).overlaps(r.run()) {
			continue
		}
		if a, ok, err := x.pickFreed(r, scope); ok || err != nil {
			return a, ok, err
		}
	}
	return netip.Addr{}, false, nil
}

// scopes are the ranges with freed addresses.
func (x index) scopes() [][]byte {
	var scopes [][]byte
	c := x.b.Cursor()
	for k, _ := c.Seek([]byte{keyCount}); len(k) > 0 && k[0] == keyCount; k, _ = c.Next() {
		scopes = append(scopes, bytes.Clone(k[1:]))
	}
	return scopes
}
