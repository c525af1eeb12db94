package bridge_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// onTheLAN is a network without a gateway of its own on the bridge br0, of
// which eth0 is the uplink: a container is a machine of the LAN's.
func onTheLAN(ipam string) string {
	return `{"type":"bridge","bridge":"br0","ipam":` + ipam + `}`
}

// newLAN puts the host's eth0 into the bridge.
func newLAN(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, host: nettest.NewHost(t, "host"), lan: nettest.NewHost(t, "lan")}
	nettest.Link(w.host, "eth0", nil, w.lan, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	w.host.Run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
	w.host.Run("ip", "link", "set", "br0", "up")
	w.host.Run("ip", "link", "set", "eth0", "master", "br0")
	return w
}

const probingLAN = `{"type":"berth-ipam","probe":true,"ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.2","gateway":"192.0.2.254"}],[{"subnet":"2001:db8::/64","gateway":"2001:db8::fe"}]]}`

func TestAnAddressOfTheLANIsPassedOver(t *testing.T) {
	t.Parallel()
	w := newLAN(t)
	c := w.host.NewContainer("c1")
	req := request(c, "lan", onTheLAN(probingLAN))
	r := w.add(req)
	if a, b := address(r, true), address(r, false); a != "192.0.2.3" || b != "2001:db8::1" {
		t.Errorf("addresses %s, %s; want the next after the LAN's, and the first", a, b)
	}
	if err := w.check(req); err != nil {
		t.Error(err)
	}
	w.lan.Ping("192.0.2.3")
	w.lan.Ping("2001:db8::1")
	// Who gets the address that was passed over has a MAC of its own.
	w.lan.Run("ip", "address", "del", "192.0.2.2/24", "dev", "eth0")
	late := request(w.host.NewContainer("late"), "lan", onTheLAN(probingLAN))
	late.Args.IPs = append(late.Args.IPs, prefix("192.0.2.2"))
	if l := w.add(late); l.Interfaces[2].MAC.String() == r.Interfaces[2].MAC.String() {
		t.Errorf("two containers have MAC %s", l.Interfaces[2].MAC)
	}
	w.del(late)
	// The late one met the LAN's IPv6 address, and gave back what came after.
	r = w.add(request(w.host.NewContainer("c2"), "lan", onTheLAN(probingLAN)))
	if a, b := address(r, true), address(r, false); a != "192.0.2.4" || b != "2001:db8::4" {
		t.Errorf("addresses of the next: %s, %s", a, b)
	}
}

func TestAnAddressOfTheLANIsRefused(t *testing.T) {
	t.Parallel()
	w := newLAN(t)
	mac := strings.TrimSpace(w.lan.Run("cat", "/sys/class/net/eth0/address"))
	c := w.host.NewContainer("c1")
	for _, want := range []string{"192.0.2.2", "2001:db8::2"} {
		req := request(c, "lan", onTheLAN(probingLAN))
		req.Args.Raw = map[string]string{"IP": want}
		req.Args.IPs = append(req.Args.IPs, prefix(want))
		_, err := w.tryAdd(req)
		if err == nil || !strings.Contains(err.Error(), mac+" answers for "+want) {
			t.Errorf("%s: %v, want an error that names %s", want, err, mac)
		}
		if out := c.Run("ip", "-o", "link"); strings.Contains(out, "eth0") {
			t.Errorf("left behind:\n%s", out)
		}
	}
	// Without the probe nobody asks.
	req := request(c, "lan", onTheLAN(strings.Replace(probingLAN, "true", "false", 1)))
	req.Runtime = plugins.Runtime{IPs: append(req.Args.IPs, prefix("192.0.2.2"))}
	if r := w.add(req); address(r, true) != "192.0.2.2" {
		t.Errorf("without probe: %+v", r.IPs)
	}
}

func prefix(addr string) netip.Prefix {
	a := netip.MustParseAddr(addr)
	return netip.PrefixFrom(a, a.BitLen())
}
