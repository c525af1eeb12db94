package firewall_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func sampleNetwork() *firewall.Network {
	return &firewall.Network{Bridge: "br-front", Isolated: true, Hidden: true}
}

func sampleEndpoint() *firewall.Endpoint {
	return &firewall.Endpoint{
		Addresses: addrs("10.10.0.2", "fd10:10::2"), Masquerade: true, Strict: true,
		Ports: []plugins.PortMapping{
			{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
			{HostPort: 9000, ContainerPort: 9000, Count: 100, Protocol: "udp"},
			{HostPort: 7000, ContainerPort: 70, Count: 3, Protocol: "sctp"},
			{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 53, ContainerPort: 5353, Protocol: "udp"},
			{HostIP: netip.MustParseAddr("2001:db8::1"), HostPort: 100, ContainerPort: 100, Count: 5, Protocol: "tcp"},
		},
		Port: "veth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}
}

func TestAddDelCheck(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	n, e := sampleNetwork(), sampleEndpoint()
	do := func(fn func() error) {
		t.Helper()
		if err := h.Do(fn); err != nil {
			t.Fatal(err)
		}
	}
	fw := firewall.NFTables{}
	do(func() error { return fw.Add(n, e) })
	do(func() error { return fw.Add(n, e) })
	do(func() error { return fw.Check(n, e) })
	do(func() error { return fw.Del(n, e) })
	do(func() error { return fw.Del(n, e) })
	do(func() error { return fw.Forget(n) })
	if rules := h.Run("nft", "list", "ruleset"); strings.Contains(rules, "elements") {
		t.Errorf("elements are left:\n%s", rules)
	}
	do(func() error { return fw.Rebuild([]firewall.Attachment{{Network: *n, Endpoint: *e}}) })
	do(func() error { return fw.Check(n, e) })
}

// The answers to thousands of requests are more than a socket's buffer holds.
func TestThousandsOfPortsOnAHostWithoutRules(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	n, e := sampleNetwork(), &firewall.Endpoint{Addresses: addrs("10.10.0.2"), Masquerade: true}
	for i := range uint16(5000) {
		e.Ports = append(e.Ports, plugins.PortMapping{HostPort: 10000 + i, ContainerPort: 80, Protocol: "tcp"})
	}
	fw := firewall.NFTables{}
	for _, step := range []func(*firewall.Network, *firewall.Endpoint) error{fw.Del, fw.Add, fw.Check, fw.Del} {
		if err := h.Do(func() error { return step(n, e) }); err != nil {
			t.Fatal(err)
		}
	}
}
