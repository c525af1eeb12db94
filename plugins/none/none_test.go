package none_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/none"
	"github.com/berth-net/berth/state"
)

// world is a container that is to be cut off.
type world struct {
	t    *testing.T
	host *nettest.Host
	c    *nettest.Container
	req  *plugins.Request
}

func newWorld(t *testing.T) *world {
	t.Helper()
	h := nettest.NewHost(t, "host")
	c := h.NewContainer("c1")
	return &world{t, h, c, &plugins.Request{
		Network:     plugins.Network{Name: "quiet", Type: "none", Config: []byte(`{}`)},
		ContainerID: "c1", NetNS: c.Path, IfName: "eth0",
	}}
}

// do runs a verb inside the host.
func (w *world) do(verb func(context.Context, *none.Driver) error) error {
	return w.host.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return verb(w.t.Context(), none.New(store))
	})
}

func (w *world) add() (result *plugins.Result, err error) {
	err = w.do(func(ctx context.Context, d *none.Driver) (err error) {
		result, err = d.Add(ctx, w.req)
		return err
	})
	return result, err
}

func (w *world) check() error {
	return w.do(func(ctx context.Context, d *none.Driver) error { return d.Check(ctx, w.req) })
}

func (w *world) del() error {
	return w.do(func(ctx context.Context, d *none.Driver) error { return d.Del(ctx, w.req) })
}

func (w *world) mustAdd() *plugins.Result {
	w.t.Helper()
	result, err := w.add()
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	result := w.mustAdd()
	if len(result.Interfaces) != 1 || result.Interfaces[0].Name != "lo" || result.Interfaces[0].Sandbox != w.c.Path || len(result.IPs) != 0 {
		t.Errorf("result %+v", result)
	}
	w.c.Ping("127.0.0.1")
	w.c.Ping("::1")
	if err := w.check(); err != nil {
		t.Errorf("CHECK: %v", err)
	}
}

func TestCheckFailsWhenAnythingElseAppears(t *testing.T) {
	t.Parallel()
	for name, add := range map[string][]string{
		"up":   {"sh", "-c", "ip link add spy type bridge && ip link set spy up"},
		"down": {"ip", "link", "add", "spy", "type", "bridge"},
		"tun":  {"ip", "tuntap", "add", "spy", "mode", "tun"},
	} {
		w := newWorld(t)
		w.mustAdd()
		w.c.Run(add[0], add[1:]...)
		if err := w.check(); err == nil || !strings.Contains(err.Error(), "device spy") {
			t.Errorf("%s: CHECK says %v", name, err)
		}
		w.c.Run("ip", "link", "del", "spy")
		if err := w.check(); err != nil {
			t.Errorf("%s: CHECK when it is gone again: %v", name, err)
		}
	}
}

func TestCheckFailsWhenLoopbackIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustAdd()
	w.c.Run("ip", "link", "set", "lo", "down")
	if err := w.check(); err == nil || !strings.Contains(err.Error(), "lo is down") {
		t.Errorf("CHECK says %v", err)
	}
}

func TestAddRefusesANamespaceThatHasMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.c.Run("ip", "link", "add", "eth0", "type", "bridge")
	w.host.ExpectClean()
	if _, err := w.add(); err == nil || !strings.Contains(err.Error(), "device eth0") {
		t.Errorf("ADD says %v", err)
	}
}

// The tunnel devices that the kernel puts into a new namespace are no way out.
func TestFallbackTunnelsAreNotASpy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.c.Run("ip", "link", "add", "tunl0", "type", "bridge") // the name decides
	w.mustAdd()
	w.c.Run("ip", "link", "set", "tunl0", "up")
	if err := w.check(); err == nil || !strings.Contains(err.Error(), "tunl0") {
		t.Errorf("CHECK with tunl0 up says %v", err)
	}
}

func TestWhatNeedsAnInterfaceIsRefused(t *testing.T) {
	t.Parallel()
	for words, change := range map[string]func(*plugins.Request){
		"portMappings": func(r *plugins.Request) {
			r.Runtime.PortMappings = []plugins.PortMapping{{HostPort: 80, ContainerPort: 80, Protocol: "tcp"}}
		},
		"ips":       func(r *plugins.Request) { r.Args.IPs = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")} },
		"mac":       func(r *plugins.Request) { r.Runtime.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1} },
		"bandwidth": func(r *plugins.Request) { r.Runtime.Bandwidth = new(plugins.Bandwidth) },
		"ipam":      func(r *plugins.Request) { r.Config = []byte(`{"ipam": {"type": "host-local"}}`) },
	} {
		w := newWorld(t)
		w.host.ExpectClean()
		change(w.req)
		if _, err := w.add(); err == nil || !strings.Contains(err.Error(), words+":") || !strings.Contains(err.Error(), "quiet") {
			t.Errorf("%s: ADD says %v", words, err)
		}
		if err := w.del(); err != nil {
			t.Errorf("%s: DEL after it: %v", words, err)
		}
	}
}

// A container that was cut off can be connected to another network later: DEL
// leaves it a loopback that works, and the name eth0 free.
func TestLeavesTheContainerConnectable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustAdd()
	if err := w.del(); err != nil {
		t.Fatal(err)
	}
	nettest.Link(w.host, "v0", []string{"10.9.0.1/24"}, w.c.Host, "eth0", []string{"10.9.0.2/24"})
	w.c.Ping("10.9.0.1")
	w.c.Ping("127.0.0.1")
}
