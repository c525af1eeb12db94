package agent_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/agent"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
	"github.com/berth-net/berth/state"
)

// A container whose lease was lost has another address than its ADD gave: the
// record and the packet filter say so.
func TestARecordFollowsItsLease(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	c := h.NewContainer("c1")
	key := endpoint.Key{Network: "front", ContainerID: "c1", IfName: "eth0"}
	from, to := netip.MustParsePrefix("10.10.0.2/24"), netip.MustParsePrefix("10.10.0.77/24")
	var record *endpoint.Record
	err := h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		catalogue, err := network.Open(network.Options{Store: store})
		if err != nil {
			return err
		}
		a, err := agent.New(agent.Options{Store: store, Catalogue: catalogue, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer agent.Close(a)
		req := &plugins.Request{
			Network:     plugins.Network{Name: key.Network, Type: "bridge", CNIVersion: "1.0.0", Config: []byte(`{"bridge":"br0","isGateway":true,"ipMasq":true,"ipam":{"type":"berth-ipam","subnet":"10.10.0.0/24"}}`)},
			ContainerID: key.ContainerID, IfName: key.IfName, NetNS: c.Path,
		}
		if _, err := bridge.New(store).Add(context.Background(), req); err != nil {
			return err
		}
		if err := agent.Readdress(a, context.Background(), key, from, netip.Prefix{}); err != nil {
			return err
		}
		if err := agent.Readdress(a, context.Background(), key, netip.Prefix{}, to); err != nil {
			return err
		}
		return store.View(func(tx *state.Tx) (err error) {
			record, err = endpoint.Get(tx, key)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(record.Addresses) != 1 || record.Addresses[0] != to {
		t.Errorf("recorded %v, want %v", record.Addresses, to)
	}
	if rules := h.Run("nft", "list", "table", "inet", "berth"); !strings.Contains(rules, "10.10.0.77") || strings.Contains(rules, "10.10.0.2 ") {
		t.Errorf("rules:\n%s", rules)
	}
}
