package macvlan_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/macvlan"
	"github.com/berth-net/berth/state"
)

// world is a host whose eth0 is on a segment with a router and another host.
// The router is 192.0.2.1 and 2001:db8::1, and is 198.51.100.1 to the rest of
// the world.
type world struct {
	*testing.T
	host, router, outside *nettest.Host
	segment               *nettest.Switch
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, host: nettest.NewHost(t, "host"), router: nettest.NewHost(t, "router"), outside: nettest.NewHost(t, "outside")}
	w.segment = nettest.NewSwitch(w.host)
	w.segment.Join(w.host, "eth0", "192.0.2.10/24", "2001:db8::10/64")
	w.segment.Join(w.router, "eth0", "192.0.2.1/24", "2001:db8::1/64")
	w.segment.Join(w.outside, "eth0", "192.0.2.20/24", "2001:db8::20/64")
	w.router.Run("ip", "address", "add", "198.51.100.1/32", "dev", "lo")
	w.host.Run("ip", "route", "add", "default", "via", "192.0.2.1")
	w.settle()
	return w
}

// settle waits until the kernel has noticed the carriers, which takes it up
// to a second (net/core/link_watch.c): until then a device has no multicast.
func (w *world) settle() {
	w.Helper()
	for _, h := range []*nettest.Host{w.host, w.router, w.outside} {
		nettest.Eventually(w, "eth0 of "+h.Name+" is up", func() error {
			if out := h.Run("ip", "link", "show", "eth0"); !strings.Contains(out, "state UP") {
				return errors.New(out)
			}
			return nil
		})
	}
}

// Networks that tests attach to. Master is the default route's device.
const (
	ipv4Only = `{"type":"macvlan","ipam":{"type":"berth-ipam","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100","gateway":"192.0.2.1"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`
	dual     = `{"type":"macvlan","master":"eth0","ipam":{"type":"berth-ipam","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100","gateway":"192.0.2.1"}],[{"subnet":"2001:db8::/64","rangeStart":"2001:db8::100","gateway":"2001:db8::1"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}`
	layer2   = `{"type":"macvlan","master":"eth0"}`
)

// request is for the interface eth0 of c.
func request(c *nettest.Container, config string) *plugins.Request {
	return &plugins.Request{
		Network:     plugins.Network{Name: "lan", Type: "macvlan", CNIVersion: "1.1.0", Config: []byte(config)},
		ContainerID: c.Name, NetNS: c.Path, IfName: "eth0", Owner: "test",
	}
}

// on calls the driver of h.
func on(h *nettest.Host, call func(*macvlan.Driver) error) error {
	return h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return call(macvlan.New(store))
	})
}

func tryAdd(h *nettest.Host, req *plugins.Request) (r *plugins.Result, err error) {
	err = on(h, func(d *macvlan.Driver) (err error) {
		r, err = d.Add(context.Background(), req)
		return err
	})
	return r, err
}

func (w *world) add(req *plugins.Request) *plugins.Result {
	w.Helper()
	r, err := tryAdd(w.host, req)
	if err != nil {
		w.Fatalf("add %s: %v", req.ContainerID, err)
	}
	return r
}

func del(h *nettest.Host, req *plugins.Request) error {
	return on(h, func(d *macvlan.Driver) error { return d.Del(context.Background(), req) })
}

func check(h *nettest.Host, req *plugins.Request) error {
	return on(h, func(d *macvlan.Driver) error { return d.Check(context.Background(), req) })
}

func status(h *nettest.Host, config string) error {
	network := &plugins.Network{Name: "lan", Type: "macvlan", Config: []byte(config)}
	return on(h, func(d *macvlan.Driver) error { return d.Status(context.Background(), network) })
}
