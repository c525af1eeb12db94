package ipam

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	bolt "go.etcd.io/bbolt"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/state"
)

// The bucket of one network holds, by the first byte of the key:
//
//	a ADDRESS          what an address is: leased, with its holder, or freed
//	o CONTAINER IFNAME the addresses of a holder (JSON)
//	r FIRST            the last address of a run of used addresses
//	q RANGE SEQUENCE   addresses in the order in which they were freed
//	n RANGE            how many those are
//	x ADDRESS          a conflict about it (JSON)
//
// An address is used from its first lease on: while it is leased and, after
// that, while it waits in its range's queue. Runs of used addresses are kept
// merged, so the lowest unused address of a range is one search away however
// many are leased; and when none is unused the queue's head is the one that
// was freed longest ago.
const (
	keyAddress = 'a'
	keyOwner   = 'o'
	keyRun     = 'r'
	keyQueue   = 'q'
	keyCount   = 'n'

	keyConflict = 'x'
)

// maxFreed bounds the queue of freed addresses of a range: beyond it the
// oldest are given again although a large range has unused ones, so that the
// state of a /64 does not grow with every container that ever ran.
const maxFreed = 1 << 16

var bucket = []byte("ipam")

// index is the bucket of one network.
type index struct{ b *bolt.Bucket }

// openIndex makes the bucket where it is missing.
func openIndex(tx *state.Tx, network string) (index, error) {
	top, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return index{}, fmt.Errorf("open leases: %w", err)
	}
	b, err := top.CreateBucketIfNotExists([]byte(network))
	if err != nil {
		return index{}, fmt.Errorf("open leases of network %s: %w", network, err)
	}
	return index{b}, nil
}

// findIndex is the bucket of a network, or ok false where nothing was ever
// leased.
func findIndex(tx *state.Tx, network string) (x index, ok bool) {
	top := tx.Bucket(bucket)
	if top == nil {
		return index{}, false
	}
	b := top.Bucket([]byte(network))
	return index{b}, b != nil
}

// use is what is recorded of a used address.
type use struct {
	leased bool
	scope  []byte // the range it was taken from
	holder holder // of a lease
	seq    uint64 // of a freed one, in the queue
}

// holder names who has a lease within its network.
type holder struct{ container, ifname string }

func holderOf(k endpoint.Key) holder { return holder{k.ContainerID, k.IfName} }

func (h holder) bytes() []byte { return []byte(h.container + "\x00" + h.ifname) }

func parseHolder(raw []byte) holder {
	container, ifname, _ := bytes.Cut(raw, []byte{0})
	return holder{string(container), string(ifname)}
}

// addrBytes sorts as the addresses do, IPv4 first.
func addrBytes(a netip.Addr) []byte {
	if a.Is4() {
		b := a.As4()
		return append([]byte{4}, b[:]...)
	}
	b := a.As16()
	return append([]byte{6}, b[:]...)
}

func parseAddrBytes(raw []byte) netip.Addr {
	if len(raw) == 0 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(raw[1:])
	return a
}

// scope names a range in the queue's keys.
func (r *Range) scope() []byte {
	return append(addrBytes(r.Start), addrBytes(r.End)[1:]...)
}

// scopeRun is the range that a scope names.
func scopeRun(scope []byte) Run {
	half := (len(scope) - 1) / 2
	first, _ := netip.AddrFromSlice(scope[1 : 1+half])
	last, _ := netip.AddrFromSlice(scope[1+half:])
	return Run{first, last}
}

func key(kind byte, parts ...[]byte) []byte {
	return append([]byte{kind}, bytes.Join(parts, nil)...)
}

func (u *use) encode() []byte {
	head := []byte{'F', byte(len(u.scope))}
	if u.leased {
		head[0] = 'L'
	}
	out := append(head, u.scope...)
	if u.leased {
		return append(out, u.holder.bytes()...)
	}
	return binary.BigEndian.AppendUint64(out, u.seq)
}

var errCorrupt = errors.New("record is corrupt")

// get tells how an address is used; nil: not at all.
func (x index) get(a netip.Addr) (*use, error) {
	raw := x.b.Get(key(keyAddress, addrBytes(a)))
	if raw == nil {
		return nil, nil
	}
	u, err := decodeUse(raw)
	if err != nil {
		return nil, fmt.Errorf("read lease of %s: %w", a, err)
	}
	return u, nil
}

func decodeUse(raw []byte) (*use, error) {
	if len(raw) < 2 || len(raw) < 2+int(raw[1]) {
		return nil, errCorrupt
	}
	u := &use{leased: raw[0] == 'L', scope: bytes.Clone(raw[2 : 2+raw[1]])}
	rest := raw[2+raw[1]:]
	if u.leased {
		u.holder = parseHolder(rest)
		return u, nil
	}
	if len(rest) != 8 {
		return nil, errCorrupt
	}
	u.seq = binary.BigEndian.Uint64(rest)
	return u, nil
}

// lease makes an address the holder's. It must be unused or freed.
func (x index) lease(a netip.Addr, r *Range, h holder) error {
	old, err := x.get(a)
	if err != nil {
		return err
	}
	if old == nil {
		err = x.addToRuns(a)
	} else {
		err = x.unqueue(old)
	}
	if err != nil {
		return err
	}
	if err := x.b.Delete(key(keyConflict, addrBytes(a))); err != nil {
		return err
	}
	u := use{leased: true, scope: r.scope(), holder: h}
	return x.b.Put(key(keyAddress, addrBytes(a)), u.encode())
}

// free puts a leased address at the end of its range's queue. One that the
// holder does not have is left alone.
func (x index) free(a netip.Addr, h holder) error {
	u, err := x.get(a)
	if err != nil || u == nil || !u.leased || u.holder != h {
		return err
	}
	u.leased = false
	if u.seq, err = x.b.NextSequence(); err != nil {
		return err
	}
	if err := x.b.Put(x.queueKey(u), addrBytes(a)); err != nil {
		return err
	}
	if err := x.count(u.scope, +1); err != nil {
		return err
	}
	return x.b.Put(key(keyAddress, addrBytes(a)), u.encode())
}

func (x index) queueKey(u *use) []byte {
	return key(keyQueue, u.scope, binary.BigEndian.AppendUint64(nil, u.seq))
}

func (x index) unqueue(u *use) error {
	if err := x.b.Delete(x.queueKey(u)); err != nil {
		return err
	}
	return x.count(u.scope, -1)
}

// forget makes a freed address unused.
func (x index) forget(a netip.Addr, u *use) error {
	if err := x.unqueue(u); err != nil {
		return err
	}
	if err := x.b.Delete(key(keyAddress, addrBytes(a))); err != nil {
		return err
	}
	return x.removeFromRuns(a)
}

func (x index) freed(scope []byte) uint64 {
	raw := x.b.Get(key(keyCount, scope))
	if len(raw) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(raw)
}

func (x index) count(scope []byte, by int64) error {
	n := x.freed(scope) + uint64(by)
	if n == 0 {
		return x.b.Delete(key(keyCount, scope))
	}
	return x.b.Put(key(keyCount, scope), binary.BigEndian.AppendUint64(nil, n))
}
