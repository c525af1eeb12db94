package network_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/state"
)

// An etcd that was restored empty knows no networks, which the hosts' containers
// are on nonetheless.
func TestANetworkInUseStaysWhenTheClusterHasLostIt(t *testing.T) {
	dir := t.TempDir()
	store, err := state.At(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := network.Open(network.Options{Dir: dir, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	install := func(lists map[string][]byte) {
		t.Helper()
		if err := c.Install(lists); err != nil {
			t.Fatal(err)
		}
	}
	exist := func(name string, want bool) {
		t.Helper()
		_, err := os.Stat(filepath.Join(dir, "berth-"+name+".conflist"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) || (err == nil) != want {
			t.Errorf("file of %s: %v, want it there: %v", name, err, want)
		}
	}
	list := func(name string) []byte {
		return []byte(`{"cniVersion":"1.0.0","name":"` + name + `","plugins":[{"type":"overlay"}]}`)
	}
	install(map[string][]byte{"used": list("used"), "idle": list("idle")})
	key := endpoint.Key{Network: "used", ContainerID: "c", IfName: "eth0"}
	if err := store.Update(func(tx *state.Tx) error { return endpoint.Put(tx, &endpoint.Record{Key: key}) }); err != nil {
		t.Fatal(err)
	}
	install(nil)
	exist("used", true)
	exist("idle", false)
	if err := store.Update(func(tx *state.Tx) error { return endpoint.Delete(tx, key) }); err != nil {
		t.Fatal(err)
	}
	install(nil)
	exist("used", false)
}
