package state_test

import (
	"context"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/state"
)

func write(t *testing.T, s *state.Store, key, value string) {
	t.Helper()
	err := s.Update(func(tx *state.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A settled version changes with every transaction, of whatever process, and
// not with one that only reads.
func TestVersionsTellContentsApart(t *testing.T) {
	t.Parallel()
	s := state.ForBoot(t.TempDir(), "boot")
	if v, settled, err := s.Version(); v != (state.Version{}) || !settled || err != nil {
		t.Errorf("before there is a database: %v, %v, %v", v, settled, err)
	}
	write(t, s, "k", "0")
	if _, settled, _ := s.Version(); settled {
		t.Error("a version is settled although it has just changed")
	}
	for i := range 5 {
		before := awaitSettled(t, s)
		if err := s.View(func(*state.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if v, _, _ := s.Version(); v != before {
			t.Error("reading has changed the version")
		}
		write(t, state.ForBoot(s.Dir()+"/..", "boot"), "k", string(rune('1'+i)))
		if v, _, _ := s.Version(); v == before {
			t.Errorf("change %d has not changed the version", i)
		}
	}
}

func awaitSettled(t *testing.T, s *state.Store) (v state.Version) {
	t.Helper()
	nettest.Eventually(t, "the version is settled", func() error {
		var settled bool
		var err error
		if v, settled, err = s.Version(); err == nil && !settled {
			err = state.ErrBusy
		}
		return err
	})
	return v
}

func TestWatchTellsOfChanges(t *testing.T) {
	t.Parallel()
	s := state.ForBoot(t.TempDir(), "boot")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told, done := make(chan struct{}, 1), make(chan error)
	go func() {
		done <- s.Watch(ctx, 0, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	nettest.Eventually(t, "a change is told", func() error {
		write(t, s, "k", "v")
		select {
		case <-told:
			return nil
		default:
			return state.ErrBusy
		}
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
