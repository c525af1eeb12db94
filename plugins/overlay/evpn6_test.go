package overlay_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// fabric is a host's configuration of a network that BGP drives.
func fabric(host int, key, value string) string {
	return fmt.Sprintf(`{"controlPlane":"evpn","vni":4200,%q:%q,"ipam":{"type":"berth-ipam","ranges":[
		[{"subnet":"10.42.0.0/24","rangeStart":"10.42.0.%[3]d0","gateway":"10.42.0.1"}],
		[{"subnet":"fd42::/64","rangeStart":"fd42::%[3]d0","gateway":"fd42::1"}]]}}`, key, value, host)
}

// FRR before 10.6 would announce its router ID in place of the address.
func TestAFabricOfIPv6IsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.a.NewContainer("c1")
	w.a.Run("ip", "address", "flush", "dev", "eth0", "scope", "global")
	w.a.Run("ip", "address", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	for key, value := range map[string]string{"local": "2001:db8::1", "underlay": "eth0"} {
		_, err := tryAdd(w.a, request(c, fabric(1, key, value)))
		if err == nil {
			t.Errorf("%s %s was taken", key, value)
			continue
		}
		for _, word := range []string{key, "2001:db8::1", "FRR before 10.6", "IPv4", "evpnIPv6"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s %s: %v; want %q", key, value, err, word)
			}
		}
	}
	w.a.Run("ip", "address", "add", "192.0.2.1/24", "dev", "eth0")
	w.add(w.a, c, fabric(1, "underlay", "eth0"))
	if out := w.a.Run("ip", "-d", "link", "show", "vx-front"); !strings.Contains(out, "local 192.0.2.1 ") {
		t.Errorf("the IPv6 address of the underlay is not passed over: %s", out)
	}
}

// The devices work with IPv6 VTEPs, by entries as a BGP daemon that takes them
// writes into the kernel's tables (zebra of FRR: zebra/rt_netlink.c).
func TestAFabricOfIPv6(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hosts := []*nettest.Host{w.a, w.b}
	var containers []*nettest.Container
	var results []*plugins.Result
	for i, h := range hosts {
		c := h.NewContainer(fmt.Sprintf("c%d", i+1))
		config := strings.Replace(fabric(i+1, "local", fmt.Sprintf("2001:db8::%d", i+1)), "{", `{"evpnIPv6":true,`, 1)
		containers, results = append(containers, c), append(results, w.add(h, c, config))
	}
	if mtu := results[0].Interfaces[0].MTU; mtu != 1430 {
		t.Errorf("MTU is %d, want 1430", mtu)
	}
	for i, h := range hosts {
		tellOfRoutes(h, results[1-i], fmt.Sprintf("2001:db8::%d", 2-i))
	}
	sniffer := w.a.Sniff("eth0")
	for _, ip := range results[1].IPs {
		containers[0].Get(containers[1].ServeHTTP(netip.AddrPortFrom(ip.Address.Addr(), 80).String()))
	}
	tunnelled := 0
	for _, f := range sniffer.Frames() {
		if vni, inner, ok := f.VXLAN(4789); ok {
			tunnelled++
			if vni != 4200 || inner.Flooded() {
				t.Errorf("VNI %d, flooded %t: %s", vni, inner.Flooded(), f)
			}
		}
	}
	if tunnelled == 0 {
		t.Error("nothing went by VXLAN")
	}
}

// tellOfRoutes programs what a container's MAC/IP routes say.
func tellOfRoutes(h *nettest.Host, r *plugins.Result, vtep string) {
	mac := r.Interfaces[0].MAC.String()
	h.Run("bridge", "fdb", "replace", mac, "dev", "vx-front", "dst", vtep, "self", "extern_learn")
	h.Run("bridge", "fdb", "replace", mac, "dev", "vx-front", "master", "extern_learn")
	for _, ip := range r.IPs {
		h.Run("ip", "neighbour", "replace", ip.Address.Addr().String(), "lladdr", mac, "dev", "bo-front", "nud", "noarp", "extern_learn")
	}
}
