package ipam_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/endpoint"
	leases "github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/ipam"
	"github.com/berth-net/berth/state"
)

const ranges = `{"ipam": {"type": "berth-ipam", "ranges": [[{"subnet": "10.9.0.0/29"}]], "routes": [{"dst": "0.0.0.0/0", "gw": "10.9.0.6"}]}`

func request(container, conf string) *plugins.Request {
	return &plugins.Request{
		Network:     plugins.Network{Name: "net1", Type: "berth-ipam", Config: []byte(conf)},
		ContainerID: container, NetNS: "/proc/self/ns/net", IfName: "eth0",
	}
}

func newStore(t *testing.T) *state.Store { return state.ForBoot(t.TempDir(), "boot") }

func add(t *testing.T, s *state.Store, req *plugins.Request) *plugins.Result {
	t.Helper()
	result, err := ipam.New(s).Add(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestTellsAddressGatewayAndRoutes(t *testing.T) {
	t.Parallel()
	result := add(t, newStore(t), request("c1", ranges+`}`))
	if len(result.IPs) != 1 || result.IPs[0].Interface != -1 || result.IPs[0].Gateway.String() != "10.9.0.1" ||
		len(result.Routes) != 1 || result.Routes[0].Gateway.String() != "10.9.0.6" || len(result.Interfaces) != 0 {
		t.Errorf("result %+v", result)
	}
}

func TestAddressesThatAreAskedFor(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	want := netip.MustParseAddr("10.9.0.5")
	req := request("c1", ranges+`}`)
	// Podman says it twice: in CNI_ARGS and in the capability "ips".
	req.Args.IPs = []netip.Prefix{netip.PrefixFrom(want, 32)}
	req.Runtime.IPs = []netip.Prefix{netip.PrefixFrom(want, 29)}
	if got := add(t, s, req).IPs; len(got) != 1 || got[0].Address != netip.PrefixFrom(want, 29) {
		t.Errorf("addresses %+v", got)
	}
	other := request("c2", ranges+`}`)
	other.Args.IPs = req.Args.IPs
	if _, err := ipam.New(s).Add(t.Context(), other); !errors.Is(err, leases.ErrInUse) {
		t.Errorf("the same for another container: %v", err)
	}
}

func TestIPRangesOfTheRuntime(t *testing.T) {
	t.Parallel()
	conf := `{"ipam": {"type": "host-local"}, "runtimeConfig": {"ipRanges": [[{"subnet": "10.8.0.0/24"}]]}}`
	if got := add(t, newStore(t), request("c1", conf)).IPs; len(got) != 1 || got[0].Gateway.String() != "10.8.0.1" {
		t.Errorf("addresses %+v", got)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	for conf, words := range map[string]string{
		`{}`:                               "ipam: missing",
		`{"ipam": {}}`:                     "type",
		`{"ipam": {"type": "dhcp"}}`:       "ipam.type",
		`{"ipam": {"type": "berth-ipam"}}`: "ranges",
	} {
		s := newStore(t)
		for name, err := range map[string]error{
			"ADD":    func() error { _, err := ipam.New(s).Add(t.Context(), request("c1", conf)); return err }(),
			"STATUS": ipam.New(s).Status(t.Context(), &request("c1", conf).Network),
		} {
			var coded *plugins.Error
			if !errors.As(err, &coded) || coded.Code != plugins.CodeInvalidConfig || !strings.Contains(err.Error(), words) {
				t.Errorf("%s of %s: %v, want %q", name, conf, err, words)
			}
		}
		if err := ipam.New(s).Del(t.Context(), request("c1", conf)); err != nil {
			t.Errorf("DEL of %s: %v", conf, err)
		}
	}
}

func TestCheckNeedsALeaseThatThePrevResultTells(t *testing.T) {
	t.Parallel()
	s, req := newStore(t), request("c1", ranges+`}`)
	d := ipam.New(s)
	var coded *plugins.Error
	if err := d.Check(t.Context(), req); !errors.As(err, &coded) || coded.Code != plugins.CodeUnknownContainer {
		t.Errorf("without a lease: %v", err)
	}
	req.Prev = add(t, s, req)
	if err := d.Check(t.Context(), req); err != nil {
		t.Errorf("with it: %v", err)
	}
	req.Prev.IPs[0].Address = netip.MustParsePrefix("10.9.0.6/29")
	if err := d.Check(t.Context(), req); err == nil || !strings.Contains(err.Error(), "prevResult") {
		t.Errorf("with another address: %v", err)
	}
}

// A lease that goes with an endpoint's record is its driver's to collect.
func TestGCLeavesLeasesOfDriversAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, c := range []string{"stale", "valid", "driver"} {
		add(t, s, request(c, ranges+`}`))
	}
	key := endpoint.Key{Network: "net1", ContainerID: "driver", IfName: "eth0"}
	if err := s.Update(func(tx *state.Tx) error { return endpoint.Put(tx, &endpoint.Record{Key: key}) }); err != nil {
		t.Fatal(err)
	}
	gc := &plugins.GCRequest{Network: request("", ranges+`}`).Network, Valid: []plugins.Attachment{{ContainerID: "valid", IfName: "eth0"}}}
	if err := ipam.New(s).GC(context.Background(), gc); err != nil {
		t.Fatal(err)
	}
	var left []string
	err := s.View(func(tx *state.Tx) error {
		held, err := leases.Holdings(tx, "net1")
		for _, h := range held {
			left = append(left, h.ContainerID)
		}
		return err
	})
	slices.Sort(left)
	if err != nil || !slices.Equal(left, []string{"driver", "valid"}) {
		t.Errorf("left: %q, %v", left, err)
	}
}
