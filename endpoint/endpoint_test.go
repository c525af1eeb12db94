package endpoint_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/state"
)

func TestRecordsOfANetworkAreItsOwn(t *testing.T) {
	t.Parallel()
	s := state.ForBoot(t.TempDir(), "boot")
	// "a" is the beginning of "ab": its list must not have the other's.
	keys := []endpoint.Key{{"a", "c1", "eth0"}, {"a", "c1", "eth1"}, {"ab", "c1", "eth0"}}
	err := s.Update(func(tx *state.Tx) error {
		for _, k := range keys {
			if err := endpoint.Put(tx, &endpoint.Record{Key: k}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(func(tx *state.Tx) error {
		for network, want := range map[string]int{"a": 2, "ab": 1, "b": 0, "": 3} {
			if all, err := endpoint.List(tx, network); err != nil || len(all) != want {
				t.Errorf("list of %q: %d records, %v; want %d", network, len(all), err, want)
			}
		}
		if r, err := endpoint.Get(tx, keys[1]); err != nil || r.Key != keys[1] {
			t.Errorf("get: %v, %v", r, err)
		}
		for range 2 { // the second finds nothing
			if err := endpoint.Delete(tx, keys[1]); err != nil {
				t.Error(err)
			}
		}
		if _, err := endpoint.Get(tx, keys[1]); !errors.Is(err, endpoint.ErrNotFound) || endpoint.Has(tx, keys[1]) {
			t.Errorf("get after delete: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAliasTellsAttachmentsFromNetworks(t *testing.T) {
	t.Parallel()
	long := endpoint.Key{Network: "n", ContainerID: strings.Repeat("c", 300), IfName: "eth0"}
	if a := long.Alias(); len(a) != 255 || !endpoint.IsAlias(a) {
		t.Errorf("alias %q has %d bytes", a, len(a))
	}
	for _, other := range []string{"", "berth:front", "uplink a/b", "front/c/eth0"} {
		if endpoint.IsAlias(other) {
			t.Errorf("%q is taken for an attachment's alias", other)
		}
	}
}
