package macvlan_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/macvlan"
	"github.com/berth-net/berth/state"
)

func TestAContainerIsAMachineOnTheSegment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c1, c2 := w.host.NewContainer("c1"), w.host.NewContainer("c2")
	r1, r2 := w.add(request(c1, dual)), w.add(request(c2, dual))
	for _, dst := range []string{"192.0.2.1", "192.0.2.20", "198.51.100.1", "2001:db8::20", r2.IPs[0].Address.Addr().String(), r2.IPs[1].Address.Addr().String()} {
		c1.Ping(dst)
	}
	w.outside.Ping(r1.IPs[0].Address.Addr().String())
	w.outside.Ping(r1.IPs[1].Address.Addr().String())
	if err := w.host.TryPing(r1.IPs[0].Address.Addr().String()); err == nil {
		t.Error("the host reaches the container without hostAccess: the kernel is known not to let it")
	}
}

func TestWhatTheContainerGets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	r := w.add(request(c, dual))
	link := c.Run("ip", "-d", "link", "show", "eth0")
	for _, want := range []string{"macvlan mode bridge", "mtu 1500", r.Interfaces[0].MAC.String(), ",UP"} {
		if !strings.Contains(link, want) {
			t.Errorf("no %q in\n%s", want, link)
		}
	}
	if got := c.Run("ip", "route"); !strings.Contains(got, "default via 192.0.2.1 dev eth0") {
		t.Errorf("no default route in\n%s", got)
	}
	if got := c.Run("ip", "-6", "route"); !strings.Contains(got, "default via 2001:db8::1 dev eth0") {
		t.Errorf("no IPv6 default route in\n%s", got)
	}
	i := r.Interfaces[0]
	if i.Name != "eth0" || i.Sandbox != c.Path || i.MTU != 1500 || len(r.IPs) != 2 || r.IPs[0].Interface != 0 || len(r.Routes) != 2 {
		t.Errorf("result %+v", r)
	}
}

func TestTheNetworksDNSIsInTheResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.add(request(w.host.NewContainer("c1"), with(dual, "dns", `{"nameservers":["192.0.2.53"],"search":["example.org"]}`)))
	if len(r.DNS.Nameservers) != 1 || r.DNS.Nameservers[0] != "192.0.2.53" || len(r.DNS.Search) != 1 {
		t.Errorf("the result's DNS: %+v", r.DNS)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"bridge", "private", "vepa", "passthru"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.host.NewContainer("c1")
			w.add(request(c, with(dual, "mode", `"`+mode+`"`)))
			if got := c.Run("ip", "-d", "link", "show", "eth0"); !strings.Contains(got, "macvlan mode "+mode) {
				t.Errorf("not in mode %s:\n%s", mode, got)
			}
			c.Ping("192.0.2.20")
		})
	}
}

func TestPrivateContainersDoNotHearEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	private := with(dual, "mode", `"private"`)
	c1, c2 := w.host.NewContainer("c1"), w.host.NewContainer("c2")
	w.add(request(c1, private))
	r2 := w.add(request(c2, private))
	if err := c1.TryPing(r2.IPs[0].Address.Addr().String()); err == nil {
		t.Error("one private container reaches another")
	}
}

func TestDelLeavesNothingAndCanBeRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	req := request(c, dual)
	before := c.Run("ip", "link")
	w.add(req)
	for range 2 {
		if err := del(w.host, req); err != nil {
			t.Fatal(err)
		}
	}
	if after := c.Run("ip", "link"); after != before {
		t.Errorf("left behind:\n%s", after)
	}
	w.hasNoRecord(req)
}

func TestDelWithoutANamespaceAndAfterIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alive, gone := w.host.NewContainer("alive"), w.host.NewContainer("gone")
	for _, c := range []*nettest.Container{alive, gone} {
		w.add(request(c, dual))
	}
	w.host.Run("umount", "-l", gone.Path)
	for _, c := range []*nettest.Container{alive, gone} {
		req := request(c, dual)
		req.NetNS = ""
		if err := del(w.host, req); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		w.hasNoRecord(req)
	}
	if got := alive.Run("ip", "link"); strings.Contains(got, "eth0") {
		t.Errorf("the record knew the namespace, but the device is there:\n%s", got)
	}
}

func TestAddTwiceIsRefusedAndHarmless(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	w.add(request(c, dual))
	if _, err := tryAdd(w.host, request(c, dual)); err == nil {
		t.Error("a second ADD succeeded")
	}
	c.Ping("192.0.2.20")
}

func TestAFailedAddIsUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	// The gateway is not on the subnet, so the route is the step that fails.
	req := request(c, `{"type":"macvlan","master":"eth0","ipam":{"type":"berth-ipam","ranges":[[{"subnet":"192.0.2.0/24"}]],"routes":[{"dst":"0.0.0.0/0","gw":"203.0.113.1"}]}}`)
	if r, err := tryAdd(w.host, req); err == nil {
		t.Fatalf("got %+v", r)
	}
	if got := c.Run("ip", "link"); strings.Contains(got, "eth0") {
		t.Errorf("the device is there:\n%s", got)
	}
	w.hasNoRecord(req)
}

func TestATakenNameIsRefusedAndNotTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	c.Run("ip", "link", "add", "eth0", "type", "bridge")
	_, err := tryAdd(w.host, request(c, dual))
	wantError(t, err, plugins.CodeInvalidEnvironment, "CNI_IFNAME", "eth0")
	if err := del(w.host, request(c, dual)); err != nil {
		t.Error(err)
	}
	if got := c.Run("ip", "-d", "link", "show", "eth0"); !strings.Contains(got, "bridge") {
		t.Errorf("the stranger's device is gone:\n%s", got)
	}
}

func TestGCRemovesWhatIsNotListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keep, drop := w.host.NewContainer("keep"), w.host.NewContainer("drop")
	w.add(request(keep, dual))
	w.add(request(drop, dual))
	err := on(w.host, func(d *macvlan.Driver) error {
		return d.GC(context.Background(), &plugins.GCRequest{
			Network: request(keep, dual).Network,
			Valid:   []plugins.Attachment{{ContainerID: "keep", IfName: "eth0"}},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	keep.Ping("192.0.2.20")
	if got := drop.Run("ip", "link"); strings.Contains(got, "eth0") {
		t.Errorf("the device is there:\n%s", got)
	}
	w.hasNoRecord(request(drop, dual))
}

// with sets one key of a configuration.
func with(config, key, value string) string {
	return strings.Replace(config, `{"type":"macvlan",`, `{"type":"macvlan","`+key+`":`+value+`,`, 1)
}

func wantError(t *testing.T, err error, code plugins.Code, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want %q", words)
		return
	}
	var e *plugins.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error %v; want code %d", err, code)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q lacks %q", err, word)
		}
	}
}

// hasNoRecord makes sure that neither record nor lease is left.
func (w *world) hasNoRecord(req *plugins.Request) {
	w.Helper()
	key := endpoint.Key{Network: req.Name, ContainerID: req.ContainerID, IfName: req.IfName}
	err := w.host.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return store.View(func(tx *state.Tx) error {
			if r, err := endpoint.Get(tx, key); !errors.Is(err, endpoint.ErrNotFound) {
				w.Errorf("record %+v, %v", r, err)
			}
			leases, err := ipam.Leased(tx, key)
			if len(leases) > 0 {
				w.Errorf("leases %v", slices.Clone(leases))
			}
			return err
		})
	})
	if err != nil {
		w.Fatal(err)
	}
}
