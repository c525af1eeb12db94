package ipam

import (
	"bytes"
	"net/netip"
)

// runAt is the run of used addresses that contains a, or else the last one
// below it; ok is false where there is none.
func (x index) runAt(a netip.Addr) (Run, bool) {
	want := key(keyRun, addrBytes(a))
	c := x.b.Cursor()
	k, last := c.Seek(want)
	if !bytes.Equal(k, want) {
		k, last = c.Prev()
	}
	// A run of the other family, or another kind of key, is no run below.
	if len(k) != len(want) || !bytes.HasPrefix(k, want[:2]) {
		return Run{}, false
	}
	return Run{parseAddrBytes(k[1:]), parseAddrBytes(last)}, true
}

// unused is the lowest unused address from a on; invalid at the family's end.
func (x index) unused(a netip.Addr) netip.Addr {
	if r, ok := x.runAt(a); ok && r.contains(a) {
		return r.Last.Next() // runs are merged: what follows one is unused
	}
	return a
}

func (x index) putRun(r Run) error {
	return x.b.Put(key(keyRun, addrBytes(r.First)), addrBytes(r.Last))
}

// addToRuns marks an unused address, merging what it joins.
func (x index) addToRuns(a netip.Addr) error {
	run := Run{a, a}
	if below, ok := x.runAt(a); ok && below.Last.Next() == a {
		run.First = below.First
	}
	if next := a.Next(); next.IsValid() {
		if above, ok := x.runAt(next); ok && above.First == next {
			run.Last = above.Last
			if err := x.b.Delete(key(keyRun, addrBytes(next))); err != nil {
				return err
			}
		}
	}
	return x.putRun(run)
}

// removeFromRuns undoes addToRuns.
func (x index) removeFromRuns(a netip.Addr) error {
	run, ok := x.runAt(a)
	if !ok || !run.contains(a) {
		return nil
	}
	if a != run.Last {
		if err := x.putRun(Run{a.Next(), run.Last}); err != nil {
			return err
		}
	}
	if a != run.First {
		return x.putRun(Run{run.First, a.Prev()})
	}
	return x.b.Delete(key(keyRun, addrBytes(a)))
}
