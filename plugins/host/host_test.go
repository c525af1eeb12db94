package host_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/host"
	"github.com/berth-net/berth/state"
)

// self is the namespace of whoever opens it: inside the host, the host's.
const self = "/proc/thread-self/ns/net"

func newHost(t *testing.T) *nettest.Host {
	t.Helper()
	h := nettest.NewHost(t, "host")
	for _, dev := range []string{"a0", "b0"} {
		h.Run("ip", "link", "add", dev, "type", "veth", "peer", "name", dev+"p")
		h.Run("ip", "link", "set", dev+"p", "up")
		h.Run("ip", "link", "set", dev, "up")
	}
	h.Run("ip", "address", "add", "192.0.2.1/24", "dev", "a0")
	h.Run("ip", "address", "add", "198.51.100.1/24", "dev", "b0")
	h.Run("ip", "address", "add", "2001:db8::1/64", "dev", "b0", "nodad")
	h.Run("ip", "route", "add", "default", "via", "198.51.100.254")
	return h
}

func request(container string, ports ...plugins.PortMapping) *plugins.Request {
	return &plugins.Request{
		Network:     plugins.Network{Name: "host", Type: "host", Config: []byte(`{}`)},
		ContainerID: container, NetNS: self, IfName: "eth0", Runtime: plugins.Runtime{PortMappings: ports},
	}
}

func port(host, container uint16) plugins.PortMapping {
	return plugins.PortMapping{HostPort: host, ContainerPort: container, Protocol: "tcp"}
}

func do(t *testing.T, h *nettest.Host, verb func(context.Context, *host.Driver) error) error {
	t.Helper()
	return h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return verb(t.Context(), host.New(store))
	})
}

func add(t *testing.T, h *nettest.Host, req *plugins.Request) (result *plugins.Result, err error) {
	t.Helper()
	err = do(t, h, func(ctx context.Context, d *host.Driver) (err error) {
		result, err = d.Add(ctx, req)
		return err
	})
	return result, err
}

func check(t *testing.T, h *nettest.Host, req *plugins.Request) error {
	t.Helper()
	return do(t, h, func(ctx context.Context, d *host.Driver) error { return d.Check(ctx, req) })
}

func del(t *testing.T, h *nettest.Host, req *plugins.Request) error {
	t.Helper()
	return do(t, h, func(ctx context.Context, d *host.Driver) error { return d.Del(ctx, req) })
}

// told is a result's addresses with their devices.
func told(r *plugins.Result) (list []string) {
	for _, ip := range r.IPs {
		list = append(list, r.Interfaces[ip.Interface].Name+" "+ip.Address.String())
	}
	return list
}

func TestTellsTheHostsAddresses(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	h.Run("ip", "link", "set", "br0", "alias", "berth:front")
	h.Run("ip", "address", "add", "10.1.0.1/24", "dev", "br0")
	result, err := add(t, h, request("c1"))
	if err != nil {
		t.Fatal(err)
	}
	// The device of the default route is first; the suite's bridge, whose
	// address is a gateway's, and link-local addresses are left out.
	want := []string{"b0 198.51.100.1/24", "b0 2001:db8::1/64", "a0 192.0.2.1/24"}
	if got := told(result); !slices.Equal(got, want) {
		t.Errorf("addresses %q, want %q", got, want)
	}
	for _, i := range result.Interfaces {
		if i.Sandbox != self || i.MAC == nil || i.MTU != 1500 {
			t.Errorf("interface %+v", i)
		}
	}
}

func TestCheckComparesTheAddresses(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	if _, err := add(t, h, request("c1")); err != nil {
		t.Fatal(err)
	}
	if err := check(t, h, request("c1")); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	h.Run("ip", "address", "del", "192.0.2.1/24", "dev", "a0")
	if err := check(t, h, request("c1")); err == nil || !strings.Contains(err.Error(), "192.0.2.1/24") {
		t.Errorf("CHECK says %v", err)
	}
}

func TestNamespaceOfItsOwnIsRefused(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	req := request("c1")
	req.NetNS = h.NewContainer("c1").Path
	h.ExpectClean()
	_, err := add(t, h, req)
	var coded *plugins.Error
	if !errors.As(err, &coded) || coded.Code != plugins.CodeInvalidEnvironment || !strings.Contains(err.Error(), "hostNetwork: true") {
		t.Errorf("ADD says %v", err)
	}
}

func TestTwoContainersOnOnePortAreTold(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	if _, err := add(t, h, request("c1", port(8080, 8080))); err != nil {
		t.Fatal(err)
	}
	_, err := add(t, h, request("c2", port(8080, 8080)))
	var coded *plugins.Error
	if !errors.Is(err, firewall.ErrPortTaken) || !strings.Contains(err.Error(), "8080/tcp") || !strings.Contains(err.Error(), "container c1") {
		t.Errorf("the second is told %v", err)
	}
	if !errors.As(err, &coded) || coded.Code != plugins.CodeTryAgain {
		t.Errorf("with code %+v", coded)
	}
	if _, err := add(t, h, request("c3", port(8081, 8081))); err != nil {
		t.Errorf("another port: %v", err)
	}
	if err := del(t, h, request("c1")); err != nil {
		t.Fatal(err)
	}
	if _, err := add(t, h, request("c2", port(8080, 8080))); err != nil {
		t.Errorf("when the first has gone: %v", err)
	}
}

func TestAPortThatAProcessHasIsTold(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.Listen("tcp", "0.0.0.0:8080")
	h.ExpectClean()
	_, err := add(t, h, request("c1", port(8080, 8080)))
	if !errors.Is(err, firewall.ErrPortTaken) || !strings.Contains(err.Error(), "8080") {
		t.Errorf("ADD says %v", err)
	}
}

func TestAPortCannotBeTranslated(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ExpectClean()
	_, err := add(t, h, request("c1", port(8080, 80)))
	if err == nil || !strings.Contains(err.Error(), "portMappings[0]") || !strings.Contains(err.Error(), "container port 80") {
		t.Errorf("ADD says %v", err)
	}
}

func TestAddressesAreTheHosts(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ExpectClean()
	req := request("c1")
	req.Runtime.IPs = []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}
	if _, err := add(t, h, req); err == nil || !strings.Contains(err.Error(), "ips:") {
		t.Errorf("ADD says %v", err)
	}
}
