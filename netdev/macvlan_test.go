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
func macvlanParent(t *testing.T) (conn *netdev.Conn, parent *netdev.Device, c *nettest.Container) {
	t.Helper()
	host := nettest.NewHost(t, "host")
	host.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire")
	conn, err := netdev.DialIn(host.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if parent, err = conn.Device("eth0"); err != nil {
		t.Fatal(err)
	}
	return conn, parent, host.NewContainer("c1")
}

func TestAddMacvlanInAnotherNamespaceByANameTheHostHas(t *testing.T) {
	t.Parallel()
	conn, parent, c := macvlanParent(t)
	m := netdev.Macvlan{Name: "eth0", Mode: netdev.MacvlanVEPA, MAC: mac(t, "02:00:00:00:00:01"), MTU: 1400, BCQueueLen: 77}
	if err := conn.AddMacvlan(m, parent, c.NetNS()); err != nil {
		t.Fatal(err)
	}
	got := c.Run("ip", "-d", "link", "show", "eth0")
	for _, want := range []string{"macvlan mode vepa", "bcqueuelen 77", "02:00:00:00:00:01", "mtu 1400"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if err := conn.AddMacvlan(m, parent, c.NetNS()); !errors.Is(err, unix.EEXIST) {
		t.Errorf("the name is taken: %v, want EEXIST", err)
	}
}

func TestDefaultRouteDevice(t *testing.T) {
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
			if dev, err := defaultRouteDevice(t, host); err != nil || dev.Name != "up0" {
				t.Errorf("got %v, %v; want up0", dev, err)
			}
		})
	}
}

func TestDefaultRouteDeviceWithoutOne(t *testing.T) {
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
			if dev, err := defaultRouteDevice(t, host); !errors.Is(err, netdev.ErrNotFound) {
				t.Errorf("got %v, %v; want ErrNotFound", dev, err)
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

func defaultRouteDevice(t *testing.T, host *nettest.Host) (*netdev.Device, error) {
	t.Helper()
	c, err := netdev.DialIn(host.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.DefaultRouteDevice()
}

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	hw, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return hw
}
