package overlay_test

import (
	"context"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/overlay"
	"github.com/berth-net/berth/state"
)

// world is two hosts on one underlay, and an outside host that both route to.
type world struct {
	*testing.T
	a, b, outside *nettest.Host
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, a: nettest.NewHost(t, "a"), b: nettest.NewHost(t, "b"), outside: nettest.NewHost(t, "outside")}
	sw := nettest.NewSwitch(w.a)
	sw.Join(w.a, "eth0", "192.0.2.1/24", "2001:db8::1/64")
	sw.Join(w.b, "eth0", "192.0.2.2/24", "2001:db8::2/64")
	sw.Join(w.outside, "eth0", "192.0.2.9/24", "2001:db8::9/64")
	return w
}

func request(c *nettest.Container, config string) *plugins.Request {
	return &plugins.Request{
		Network:     plugins.Network{Name: "front", Type: "overlay", CNIVersion: "1.0.0", Config: []byte(config)},
		ContainerID: c.Name, NetNS: c.Path, IfName: "eth0", Owner: "test",
	}
}

func on(h *nettest.Host, call func(*overlay.Driver) error) error {
	return h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return call(overlay.New(store))
	})
}

func tryAdd(h *nettest.Host, req *plugins.Request) (r *plugins.Result, err error) {
	err = on(h, func(d *overlay.Driver) (err error) {
		r, err = d.Add(context.Background(), req)
		return err
	})
	return r, err
}

func (w *world) add(h *nettest.Host, c *nettest.Container, config string) *plugins.Result {
	w.Helper()
	c.Run("ip", "link", "set", "lo", "up")
	r, err := tryAdd(h, request(c, config))
	if err != nil {
		w.Fatalf("add %s on %s: %v", c.Name, h.Name, err)
	}
	return r
}

func (w *world) del(h *nettest.Host, req *plugins.Request) {
	w.Helper()
	if err := on(h, func(d *overlay.Driver) error { return d.Del(context.Background(), req) }); err != nil {
		w.Errorf("del %s: %v", req.ContainerID, err)
	}
}

func check(h *nettest.Host, req *plugins.Request) error {
	return on(h, func(d *overlay.Driver) error { return d.Check(context.Background(), req) })
}
