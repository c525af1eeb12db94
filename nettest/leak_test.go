package nettest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/state"
)

func TestMain(m *testing.M) { Main(m) }

func TestInventoryShowsEveryKindOfLeak(t *testing.T) {
	t.Parallel()
	h := NewHost(t, "h")
	before := h.mustInventory()
	h.Run("ip", "link", "add", "leak0", "type", "bridge")
	h.Run("nft", "add", "table", "inet", "leaked")
	err := h.Do(func() error {
		ns, err := netns.Create("/run/netns/leaked")
		if err != nil {
			return err
		}
		defer ns.Close()
		store, err := state.Default()
		if err != nil {
			return err
		}
		return store.Update(func(tx *state.Tx) error {
			if err := os.WriteFile(store.Dir()+"/leaked", nil, 0o600); err != nil {
				return err
			}
			c, err := ipam.Parse([]byte(`{"type": "berth-ipam", "ranges": [[{"subnet": "10.9.0.0/24"}]]}`))
			if err != nil {
				return err
			}
			if _, err := ipam.Lease(tx, c, ipam.Request{Key: endpoint.Key{Network: "n", ContainerID: "c2", IfName: "eth0"}}); err != nil {
				return err
			}
			return endpoint.Put(tx, &endpoint.Record{Key: endpoint.Key{Network: "n", ContainerID: "c", IfName: "eth0"}})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	diff := difference(before, h.mustInventory())
	for _, want := range []string{"+ link leak0", "+ rule table inet leaked {", "+ mount /run/netns/leaked", "+ endpoint n/c/eth0", "of n/c2/eth0", "/leaked"} {
		if !slices.ContainsFunc(diff, func(line string) bool { return strings.HasSuffix(line, want) }) {
			t.Errorf("no %q in the difference: %q", want, diff)
		}
	}
	h.Run("ip", "link", "del", "leak0")
	if diff := difference(before, h.mustInventory()); slices.Contains(diff, "+ link leak0") {
		t.Errorf("a link that is gone still counts: %q", diff)
	}
}

func TestContainersLeaveAHostClean(t *testing.T) {
	t.Parallel()
	h := NewHost(t, "h")
	h.ExpectClean()
	h.NewContainer("c")
}

func TestDescriptorsAndChildrenCount(t *testing.T) {
	before := ownInventory()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	diff := difference(before, ownInventory())
	if !slices.ContainsFunc(diff, func(l string) bool { return strings.Contains(l, "/status") }) {
		t.Errorf("an open file is not seen: %q", diff)
	}
}
