package macvlan_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/macvlan"
	"github.com/berth-net/berth/state"
)

// onVLAN calls a driver whose VLAN devices are isolated ones, and counts them.
func onVLAN(w *world, made *[]string, call func(*macvlan.Driver) error) error {
	return w.host.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return call(macvlan.NewMaking(store, func(c *netdev.Conn, name string, base *netdev.Device, id uint16) error {
			*made = append(*made, fmt.Sprintf("%s on %s, id %d", name, base.Name, id))
			return c.AddIsolated(name)
		}))
	})
}

func TestAVLANParentIsMadeOnDemandAndGoesWithTheLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var made []string
	var reqs []*plugins.Request
	for _, name := range []string{"c1", "c2"} {
		req := request(w.host.NewContainer(name), master(layer2, "eth0.10"))
		req.Name = "net-" + name // several networks share it
		reqs = append(reqs, req)
		err := onVLAN(w, &made, func(d *macvlan.Driver) error { _, err := d.Add(context.Background(), req); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(made, "; "); got != "eth0.10 on eth0, id 10" {
		t.Errorf("made %q", got)
	}
	for i, wantParent := range []bool{true, false} {
		if err := del(w.host, reqs[i]); err != nil {
			t.Fatal(err)
		}
		if got := w.host.Run("ip", "-o", "link"); strings.Contains(got, "eth0.10") != wantParent {
			t.Errorf("after DEL %d:\n%s", i+1, got)
		}
	}
}

func TestAVLANParentOfTheAdministratorStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.Run("ip", "link", "add", "eth0.10", "up", "type", "ifb")
	req := request(w.host.NewContainer("c1"), master(layer2, "eth0.10"))
	w.add(req)
	if err := del(w.host, req); err != nil {
		t.Fatal(err)
	}
	w.host.Run("ip", "link", "show", "eth0.10")
}

func TestAVLANParentWithoutTheKernelsHelp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if out, err := w.host.Try("ip", "link", "add", "link", "eth0", "name", "probe", "type", "vlan", "id", "9"); err == nil {
		t.Skip("this kernel has 802.1Q:", out)
	}
	req := request(w.host.NewContainer("c1"), master(layer2, "eth0.10"))
	_, err := tryAdd(w.host, req)
	wantError(t, err, plugins.CodeInvalidConfig, "eth0.10", "802.1Q", "CONFIG_VLAN_8021Q")
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v is not ErrUnsupported", err)
	}
	w.hasNoRecord(req)
}

func TestNamesThatAreNoVLAN(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	for _, name := range []string{"eth0.0", "eth0.4095", "eth0.010", "eth0.x", "eth9.10", ".10", "eth0."} {
		_, err := tryAdd(w.host, request(c, master(layer2, name)))
		wantError(t, err, plugins.CodeInvalidConfig, "master", name)
	}
}

const internal = `{"type":"macvlan","internal":true,"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100"}]]}}`

func TestAnInternalNetworkHasNoWayOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c1, c2 := request(w.host.NewContainer("c1"), internal), w.host.NewContainer("c2")
	r1 := w.add(c1)
	r2 := w.add(request(c2, internal))
	c2.Ping(r1.IPs[0].Address.Addr().String())
	for _, dst := range []string{"192.0.2.1", "192.0.2.10"} {
		if err := c2.TryPing(dst); err == nil {
			t.Errorf("an internal container reaches %s", dst)
		}
	}
	if err := w.outside.TryPing(r2.IPs[0].Address.Addr().String()); err == nil {
		t.Error("an internal container is reached from outside")
	}
	for _, req := range []*plugins.Request{c1, request(c2, internal)} {
		if err := del(w.host, req); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.host.Run("ip", "-o", "link"); strings.Contains(got, "bmi") {
		t.Errorf("the isolated parent is left:\n%s", got)
	}
}

func TestConcurrentAddsAndDelsLeaveNoParent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 6 {
		c := w.host.NewContainer(fmt.Sprintf("c%d", i))
		wg.Go(func() {
			for range 3 {
				if _, err := tryAdd(w.host, request(c, internal)); err != nil {
					t.Error(err)
				}
				if err := del(w.host, request(c, internal)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := w.host.Run("ip", "-o", "link"); strings.Contains(got, "bmi") {
		t.Errorf("left:\n%s", got)
	}
}

func TestHostAccessIsForExactlyTheContainersAndEndsWithTheLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	config := with(dual, "hostAccess", "true")
	c1, c2 := w.host.NewContainer("c1"), w.host.NewContainer("c2")
	shim := macvlan.ShimName("eth0")
	for _, c := range []*nettest.Container{c1, c2} {
		r := w.add(request(c, config))
		for _, ip := range r.IPs {
			w.host.Ping(ip.Address.Addr().String())
		}
		c.Ping("192.0.2.10")
		c.Ping("2001:db8::10")
		c.Ping("192.0.2.1")
	}
	w.host.Ping("192.0.2.20") // the segment itself is still reached through the parent
	routes := w.host.Run("ip", "route", "show", "dev", shim) + w.host.Run("ip", "-6", "route", "show", "dev", shim)
	for _, dst := range []string{"192.0.2.100", "192.0.2.101", "2001:db8::100", "2001:db8::101"} {
		if !strings.Contains(routes, dst+" ") {
			t.Errorf("no route to %s:\n%s", dst, routes)
		}
	}
	if err := del(w.host, request(c1, config)); err != nil {
		t.Fatal(err)
	}
	if got := w.host.Run("ip", "route", "show", "dev", shim); strings.Contains(got, "192.0.2.100 ") || !strings.Contains(got, "192.0.2.101 ") {
		t.Errorf("after the first DEL:\n%s", got)
	}
	if err := del(w.host, request(c2, config)); err != nil {
		t.Fatal(err)
	}
	if got := w.host.Run("ip", "-o", "link"); strings.Contains(got, shim) {
		t.Errorf("after the last DEL:\n%s", got)
	}
	w.host.Ping("192.0.2.20")
	w.host.Ping("2001:db8::20")
}

func TestAWirelessParentIsRefused(t *testing.T) {
	t.Parallel()
	for _, sign := range []string{"phy80211", "wireless"} {
		w := newWorld(t)
		sysfs := t.TempDir()
		if err := os.MkdirAll(filepath.Join(sysfs, "class/net/eth0", sign), 0o755); err != nil {
			t.Fatal(err)
		}
		add := func(config string) error {
			req := request(w.host.NewContainer("c1"), config)
			return w.host.Do(func() error {
				store, err := state.Default()
				if err != nil {
					return err
				}
				_, err = macvlan.NewSeeing(store, sysfs).Add(context.Background(), req)
				return err
			})
		}
		wantError(t, add(layer2), plugins.CodeInvalidConfig, "eth0", "wireless", "access point")
	}
}

func TestKeysThatContradict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	for config, word := range map[string]string{
		with(layer2, "mode", `"source"`):                                      "mode",
		with(layer2, "mtu", "-1"):                                             "mtu",
		with(layer2, "mac", `"01:00:5e:00:00:01"`):                            "mac",
		with(layer2, "internal", "true"):                                      "internal",
		with(with(layer2, "hostAccess", "true"), "mode", `"private"`):         "hostAccess",
		with(with(layer2, "hostAccess", "true"), "linkInContainer", "true"):   "hostAccess",
		`{"type":"macvlan","internal":true,"mode":"vepa"}`:                    "internal",
		`{"type":"macvlan","internal":true,"hostAccess":true}`:                "hostAccess",
		`{"type":"macvlan","internal":true,"linkInContainer":true}`:           "internal",
		`{"type":"macvlan","master":"a/b"}`:                                   "master",
		`{"type":"macvlan","master":"a-name-longer-than-the-kernel-permits"}`: "master",
	} {
		_, err := tryAdd(w.host, request(c, config))
		wantError(t, err, plugins.CodeInvalidConfig, word)
	}
}
