package loopback_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/loopback"
)

func world(t *testing.T) (*nettest.Host, *nettest.Container, *plugins.Request) {
	t.Helper()
	h := nettest.NewHost(t, "host")
	c := h.NewContainer("c1")
	return h, c, &plugins.Request{
		Network:     plugins.Network{Name: "cni-loopback", Type: "loopback", Config: []byte(`{}`)},
		ContainerID: "c1", NetNS: c.Path, IfName: "lo",
	}
}

func TestBringsLoopbackUpAndTellsItsAddresses(t *testing.T) {
	t.Parallel()
	h, c, req := world(t)
	req.IfName = "eth0" // whatever is asked for, it is lo
	d := loopback.New(nil)
	err := h.Do(func() error {
		result, err := d.Add(t.Context(), req)
		if err == nil && (len(result.IPs) != 2 || result.IPs[0].Address.String() != "127.0.0.1/8" || result.Interfaces[0].Name != "lo") {
			t.Errorf("result %+v", result)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Ping("127.0.0.1")
	c.Ping("::1")
	if err := h.Do(func() error { return d.Check(t.Context(), req) }); err != nil {
		t.Errorf("CHECK: %v", err)
	}
}

func TestHandsAnEarlierResultOn(t *testing.T) {
	t.Parallel()
	h, c, req := world(t)
	req.Prev = &plugins.Result{IPs: []plugins.IP{{Interface: -1, Address: netip.MustParsePrefix("10.0.0.2/24")}}}
	err := h.Do(func() error {
		result, err := loopback.New(nil).Add(t.Context(), req)
		if !reflect.DeepEqual(result, req.Prev) {
			t.Errorf("result %+v", result)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Ping("127.0.0.1")
}

func TestRefusesAnAddressThatOthersReach(t *testing.T) {
	t.Parallel()
	h, c, req := world(t)
	c.Run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
	err := h.Do(func() error {
		_, err := loopback.New(nil).Add(t.Context(), req)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "192.0.2.7/32") {
		t.Errorf("ADD says %v", err)
	}
}

func TestCheckFailsWhenItIsDown(t *testing.T) {
	t.Parallel()
	h, _, req := world(t)
	if err := h.Do(func() error { return loopback.New(nil).Check(t.Context(), req) }); err == nil || !strings.Contains(err.Error(), "down") {
		t.Errorf("CHECK says %v", err)
	}
}

// A runtime that repeats DEL with a path that is the host's own by now must
// not take the host's loopback down.
func TestDelSparesTheHost(t *testing.T) {
	t.Parallel()
	h, _, req := world(t)
	req.NetNS = "/proc/thread-self/ns/net"
	if err := h.Do(func() error { return loopback.New(nil).Del(t.Context(), req) }); err != nil {
		t.Fatal(err)
	}
	h.Ping("127.0.0.1")
}
