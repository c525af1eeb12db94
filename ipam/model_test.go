package ipam_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/state"
)

// model is an IPAM that keeps a plain list of a range's addresses: those
// never used in order, and behind them those freed, in the order of freeing.
type model struct {
	free []netip.Addr
	held map[string]netip.Addr
	dead map[string]bool
}

func newModel(config *ipam.Config) *model {
	m := &model{held: map[string]netip.Addr{}, dead: map[string]bool{}}
	r := config.Ranges[0][0]
	for a := r.Start; a.IsValid() && a.Compare(r.End) <= 0; a = a.Next() {
		closed := slices.ContainsFunc(r.Holes, func(h ipam.Run) bool { return h.First.Compare(a) <= 0 && a.Compare(h.Last) <= 0 })
		if !closed {
			m.free = append(m.free, a)
		}
	}
	return m
}

func (m *model) allocate(c string, static netip.Addr) (netip.Addr, error) {
	has, ok := m.held[c]
	if ok && (!static.IsValid() || static == has) {
		return has, nil
	}
	for other, a := range m.held {
		if a == static && other != c {
			return static, ipam.ErrInUse
		}
	}
	free := slices.Clone(m.free)
	if ok {
		free = append(free, has)
	}
	i := 0
	if static.IsValid() {
		i = slices.Index(free, static)
	}
	if i < 0 {
		return static, ipam.ErrOutOfRange
	}
	if len(free) == 0 {
		return static, ipam.ErrExhausted
	}
	m.held[c] = free[i]
	m.free = slices.Delete(free, i, i+1)
	return m.held[c], nil
}

func (m *model) release(c string) {
	if a, ok := m.held[c]; ok {
		m.free = append(m.free, a)
		delete(m.held, c)
	}
}

// walk is one random sequence of steps on both.
type walk struct {
	*bench
	m     *model
	root  string
	boots int
	rng   *rand.Rand
}

func (w *walk) reboot() {
	w.boots++
	w.store = state.ForBoot(w.root, fmt.Sprintf("%08d-0000-0000-0000-000000000000", w.boots))
	w.m = newModel(w.config)
}

var errCrash = errors.New("crash")

func (w *walk) step() string {
	c := fmt.Sprintf("c%d", w.rng.IntN(12))
	switch n := w.rng.IntN(100); {
	case n < 45:
		return w.allocate(c, netip.Addr{})
	case n < 60:
		r := w.config.Ranges[0][0]
		static := r.Subnet.Addr()
		for range w.rng.IntN(20) {
			static = static.Next()
		}
		return w.allocate(c, static)
	case n < 85:
		w.release(c)
		w.m.release(c)
		return "release " + c
	case n < 90:
		return w.crash(c)
	case n < 94:
		return w.reclaim()
	case n < 98:
		return w.passOver(c)
	}
	w.reboot()
	return "reboot"
}

func (w *walk) allocate(c string, static netip.Addr) string {
	req := ipam.Request{Key: key(c), NetNS: w.netns(c)}
	if static.IsValid() {
		req.Static = []netip.Prefix{netip.PrefixFrom(static, static.BitLen())}
	}
	want, wantErr := w.m.allocate(c, static)
	got, err := w.try(req)
	what := fmt.Sprintf("allocate %s %v", c, static)
	if (err == nil) != (wantErr == nil) || err != nil && !errors.Is(err, wantErr) {
		w.t.Fatalf("%s: %v, the model says %v", what, err, wantErr)
	}
	if err == nil && got[0].Prefix.Addr() != want {
		w.t.Fatalf("%s: %v, the model says %v", what, got[0].Prefix, want)
	}
	return what
}

// crash ends an Add's transaction between its record and the commit: nothing
// of it may be seen.
func (w *walk) crash(c string) string {
	other := key("other" + c)
	err := w.store.Update(func(tx *state.Tx) error {
		ipam.Lease(tx, w.config, ipam.Request{Key: other})
		ipam.Release(tx, key(c))
		if err := endpoint.Put(tx, &endpoint.Record{Key: other}); err != nil {
			return err
		}
		return errCrash
	})
	if !errors.Is(err, errCrash) {
		w.t.Fatal(err)
	}
	w.view(func(tx *state.Tx) error {
		if endpoint.Has(tx, other) {
			w.t.Fatalf("the record of %s has survived the crash", other)
		}
		return nil
	})
	return "crash"
}

func (w *walk) view(fn func(*state.Tx) error) {
	if err := w.store.View(fn); err != nil {
		w.t.Fatal(err)
	}
}

// passOver is what an Add does when another machine of the segment has the
// address: it gives it up for another, or fails and leaves everything be.
func (w *walk) passOver(c string) string {
	taken, ok := w.m.held[c]
	if !ok {
		return "nothing to pass over"
	}
	w.m.release(c)
	want := w.m.free[0]
	var wantErr error
	if want == taken { // it is the last: there is no other
		wantErr = ipam.ErrExhausted
	}
	w.m.free = w.m.free[1:]
	w.m.held[c] = want
	got, err := w.try(ipam.Request{Key: key(c), NetNS: w.netns(c), Avoid: []netip.Addr{taken}})
	if !errors.Is(err, wantErr) || err == nil && got[0].Prefix.Addr() != want {
		w.t.Fatalf("pass over %s: %v, %v; the model says %v, %v", taken, got, err, want, wantErr)
	}
	return fmt.Sprintf("pass over %s of %s", taken, c)
}

// reclaim frees what dead namespaces hold, in the order of their names.
func (w *walk) reclaim() string {
	var dead []string
	for c := range w.m.held {
		if w.rng.IntN(3) == 0 {
			dead = append(dead, c)
			os.Remove(w.netns(c))
		}
	}
	slices.Sort(dead)
	for _, c := range dead {
		w.m.release(c)
	}
	err := w.store.Update(func(tx *state.Tx) error {
		_, err := ipam.ReleaseDead(tx, "")
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint("reclaim ", dead)
}

// netns is the path by which a container's namespace is found: this one's.
func (w *walk) netns(c string) string {
	path := filepath.Join(w.root, "netns-"+c)
	os.Symlink("/proc/self/ns/net", path)
	return path
}

func (w *walk) compare() {
	var held []ipam.Holding
	err := w.store.View(func(tx *state.Tx) (err error) {
		held, err = ipam.Holdings(tx, "net")
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(held) != len(w.m.held) {
		w.t.Fatalf("%d hold addresses, the model has %d", len(held), len(w.m.held))
	}
	for _, h := range held {
		if len(h.Addresses) != 1 || w.m.held[h.ContainerID] != h.Addresses[0] {
			w.t.Fatalf("%s holds %v, the model says %v", h.ContainerID, h.Addresses, w.m.held[h.ContainerID])
		}
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	for _, config := range []string{
		`{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/29"}]]}`,
		`{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/28","rangeStart":"10.0.0.3","exclude":["10.0.0.5-10.0.0.6"]}]]}`,
		`{"type":"berth-ipam","ranges":[[{"subnet":"fd00::/124","gateway":"fd00::8"}]]}`,
		`{"type":"berth-ipam","ranges":[[{"subnet":"255.255.255.240/28","rangeEnd":"255.255.255.255"}]]}`,
	} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprint(config, seed), func(t *testing.T) {
				t.Parallel()
				steps := 400
				if testing.Short() {
					steps = 100
				}
				w := &walk{bench: &bench{t: t, config: parse(t, config)}, root: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 1))}
				w.reboot()
				var log []string
				defer func() {
					if t.Failed() {
						t.Logf("steps: %v", log)
					}
				}()
				for range steps {
					log = append(log, w.step())
					w.compare()
				}
			})
		}
	}
}

// FuzzRanges leases until a range of any definition is full, or sixteen
// times: no panic, every address in its range, none twice.
func FuzzRanges(f *testing.F) {
	for _, s := range []string{
		dual,
		`{"type":"host-local","subnet":"10.0.0.0/30","rangeStart":"10.0.0.2","gateway":"10.0.0.1","dataDir":"/x"}`,
		`{"type":"berth-ipam","exclude":["::-ffff::"],"ranges":[[{"subnet":"::/0"}]]}`,
		`{"type":"berth-ipam","ranges":[[{"subnet":"255.255.255.254/31"},{"subnet":"0.0.0.0/32"}]],"reservations":[{"address":"0.0.0.0","name":"a"}]}`,
		`{"type":"berth-ipam","ranges":[[{"subnet":"ffff::/16","rangeStart":"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"}]]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ipam.Parse(raw)
		if err != nil || len(c.Ranges) == 0 {
			return
		}
		store := state.ForBoot(t.TempDir(), "boot")
		given := map[netip.Addr]bool{}
		err = store.Update(func(tx *state.Tx) error {
			for i := range 16 {
				addresses, err := ipam.Lease(tx, c, ipam.Request{Key: key(fmt.Sprint(i))})
				if err != nil {
					return nil // exhausted
				}
				for j, a := range addresses {
					if given[a.Prefix.Addr()] {
						t.Errorf("%v is given twice", a.Prefix)
					}
					given[a.Prefix.Addr()] = true
					if !inSet(c.Ranges[j], a) {
						t.Errorf("%v is not of %v", a.Prefix, c.Ranges[j])
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func inSet(set ipam.RangeSet, a ipam.Address) bool {
	return slices.ContainsFunc(set, func(r ipam.Range) bool {
		addr := a.Prefix.Addr()
		return r.Start.Compare(addr) <= 0 && addr.Compare(r.End) <= 0 && addr != r.Gateway && a.Prefix.Bits() == r.Subnet.Bits()
	})
}
