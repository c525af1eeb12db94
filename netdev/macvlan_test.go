package netdev_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

// macvlanParent is a host with the device eth0, and a container on it.
func macvlanParent(t *testing.T) (h *netdev.Handle, parent netdev.Link, host *nettest.Host, c *nettest.Container) {
	t.Helper()
	host = nettest.NewHost(t, "host")
	host.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire")
	h, err := netdev.In(host.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if parent, err = h.Link("eth0"); err != nil {
		t.Fatal(err)
	}
	return h, parent, host, host.NewContainer("c1")
}

func TestAddMacvlanInAnotherNamespaceByANameTheHostHas(t *testing.T) {
	t.Parallel()
	h, parent, _, c := macvlanParent(t)
	m := netdev.Macvlan{Name: "eth0", Mode: netdev.MacvlanVEPA, MAC: mac(t, "02:00:00:00:00:01"), MTU: 1400, BCQueueLen: 77}
	if err := h.AddMacvlan(m, parent, c.NetNS()); err != nil {
		t.Fatal(err)
	}
	got := c.Run("ip", "-d", "link", "show", "eth0")
	for _, want := range []string{"macvlan mode vepa", "bcqueuelen 77", "02:00:00:00:00:01", "mtu 1400"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if err := h.AddMacvlan(m, parent, c.NetNS()); !errors.Is(err, unix.EEXIST) {
		t.Errorf("the name is taken: %v, want EEXIST", err)
	}
}

func TestDefaultRouteLink(t *testing.T) {
	t.Parallel()
	for name, routes := range map[string][]string{
		"IPv4":                     {"route add default via 192.0.2.1"},
		"IPv6":                     {"-6 route add default via 2001:db8::1"},
		"beside a specific one":    {"route add 240.0.0.0/4 dev other", "-6 route add default via 2001:db8::1"},
		"multipath":                {"route add default nexthop via 192.0.2.1 nexthop via 192.0.2.9"},
		"before one with a metric": {"route add default dev other metric 99", "route add default via 192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := routed(t)
			for _, r := range routes {
				host.Run("ip", strings.Fields(r)...)
			}
			if link, err := defaultRouteLink(t, host); err != nil || link.Attrs().Name != "up0" {
				t.Errorf("got %v, %v; want up0", link, err)
			}
		})
	}
}

func TestDefaultRouteLinkWithoutOne(t *testing.T) {
	t.Parallel()
	for name, route := range map[string]string{
		"none":      "",
		"halves":    "route add 128.0.0.0/1 dev other",
		"blackhole": "route add blackhole default",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := routed(t)
			if route != "" {
				host.Run("ip", strings.Fields(route)...)
			}
			if link, err := defaultRouteLink(t, host); !errors.Is(err, netdev.ErrNotFound) {
				t.Errorf("got %v, %v; want ErrNotFound", link, err)
			}
		})
	}
}

// routed is a host with two devices and no route but their own.
func routed(t *testing.T) *nettest.Host {
	t.Helper()
	host, router := nettest.NewHost(t, "host"), nettest.NewHost(t, "router")
	nettest.Link(host, "up0", []string{"192.0.2.2/24", "2001:db8::2/64"}, router, "eth0", nil)
	nettest.Link(host, "other", nil, router, "eth1", nil)
	return host
}

func defaultRouteLink(t *testing.T, host *nettest.Host) (netdev.Link, error) {
	t.Helper()
	h, err := netdev.In(host.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	return h.DefaultRouteLink()
}

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	hw, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return hw
}
