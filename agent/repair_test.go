package agent_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

func macInside(m *member) string {
	return strings.Fields(strings.SplitAfter(m.Run("ip", "-o", "link", "show", "eth0"), "link/ether ")[1])[0]
}

// forwarding is what a host's kernel has of the network front, as sorted lines
// "MAC at VTEP" and "ADDRESS is MAC".
func forwarding(h *nettest.Host) (lines []string) {
	out, _ := h.Try("bridge", "fdb", "show", "dev", "vx-front")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "dst" {
			lines = append(lines, f[0]+" at "+f[2])
		}
	}
	out, _ = h.Try("ip", "neighbour", "show", "dev", "bo-front", "nud", "permanent")
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if a, err := netip.ParseAddr(f[0]); err == nil && !a.IsMulticast() && len(f) > 2 {
			lines = append(lines, f[0]+" is "+f[2])
		}
	}
	slices.Sort(lines)
	return lines
}

// forwardingFor is what a host's forwarding should be for the containers that
// there are.
func (w *world) forwardingFor(h *nettest.Host, members []*member) (lines []string) {
	w.Helper()
	for _, m := range members {
		if m.host == h {
			continue
		}
		mac := macInside(m)
		lines = append(lines, fmt.Sprintf("%s at %s", mac, w.vtep(slices.Index(w.hosts, m.host)+1)))
		for _, ip := range m.ips {
			lines = append(lines, fmt.Sprintf("%s is %s", ip, mac))
		}
	}
	slices.Sort(lines)
	return lines
}

// bridged is what a host's bridge sends to the VXLAN device, as lines.
func bridged(h *nettest.Host) (lines []string) {
	own, _ := h.Try("cat", "/sys/class/net/vx-front/address")
	out, _ := h.Try("bridge", "fdb", "show", "dev", "vx-front")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "master" && f[0] != strings.TrimSpace(own) {
			lines = append(lines, f[0]+" by vx-front")
		}
	}
	return lines
}

// awaitForwarding waits until a host's kernel has a line of forwarding, or no
// longer has it.
func (w *world) awaitForwarding(h *nettest.Host, line string, has bool) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s: %q: %v", h.Name, line, has), func() error {
		if lines := forwarding(h); slices.Contains(lines, line) != has {
			return errors.New(strings.Join(lines, "\n"))
		}
		return nil
	})
}

// newWatchfulWorld has agents that repair what they notice, and nothing because
// it is time to or because a lease has ended.
func newWatchfulWorld(t testing.TB, n int) *world {
	t.Helper()
	return newWorldWith(t, bothFamilies, n, func(int) []string { return []string{agentEvery + "=1h", agentTTL + "=1m"} })
}

// The kernel tells of what is lost.
func TestDamageIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWatchfulWorld(t, 2)
	a, b := w.add(w.hosts[0], "a"), w.add(w.hosts[1], "b")
	w.everyPair([]*member{a, b})
	h, mac := w.hosts[0], macInside(b)
	want := slices.Sorted(slices.Values(append(w.forwardingFor(h, []*member{b}), mac+" by vx-front")))
	for _, damage := range [][]string{
		{"bridge", "fdb", "delete", mac, "dev", "vx-front", "self"},
		{"bridge", "fdb", "delete", mac, "dev", "vx-front", "master"},
		{"ip", "neighbour", "flush", "dev", "bo-front", "nud", "permanent"},
		{"ip", "link", "set", "vx-front", "down"},
		{"ip", "link", "set", "vx-front", "nomaster"},
		{"ip", "link", "delete", "vx-front"},
		{"ip", "link", "delete", "bo-front"},
	} {
		h.Run(damage[0], damage[1:]...)
		w.eventually(fmt.Sprintf("repair of %q", damage), func() error {
			if have := slices.Sorted(slices.Values(append(forwarding(h), bridged(h)...))); !slices.Equal(have, want) {
				return fmt.Errorf("%q, want %q", have, want)
			}
			return a.TryPing(b.ips[0].String())
		})
	}
}

// A host whose uplink gets another address makes its tunnels anew, and the
// others send there.
func TestAChangedUplinkAddressIsFollowed(t *testing.T) {
	t.Parallel()
	w := newWatchfulWorld(t, 2)
	a, b := w.add(w.hosts[0], "a"), w.add(w.hosts[1], "b")
	w.everyPair([]*member{a, b})
	h := w.hosts[0]
	h.Run("ip", "address", "delete", "192.0.2.1/24", "dev", "eth0")
	h.Run("ip", "address", "add", "192.0.2.51/24", "dev", "eth0")
	w.awaitForwarding(w.hosts[1], macInside(a)+" at 192.0.2.51", true)
	w.awaitForwarding(w.hosts[1], macInside(a)+" at 192.0.2.1", false)
	w.eventually("the VXLAN device to send from there", func() error {
		if out, _ := h.Try("ip", "-d", "link", "show", "vx-front"); !strings.Contains(out, "local 192.0.2.51 ") {
			return errors.New(out)
		}
		return nil
	})
	w.everyPair([]*member{a, b})
}

// systemd-udevd gives a device that it takes for one without an address of its
// own another MAC, if nothing says that it must not.
func TestAVTEPsRewrittenMACIsRestored(t *testing.T) {
	t.Parallel()
	w := newWatchfulWorld(t, 2)
	a, b := w.add(w.hosts[0], "a"), w.add(w.hosts[1], "b")
	w.everyPair([]*member{a, b})
	h := w.hosts[0]
	for _, device := range []string{"vx-front", "bo-front"} {
		was := macOf(t, h, device).String()
		h.Run("ip", "link", "set", device, "address", "02:00:00:00:be:ef")
		w.eventually("the MAC of "+device, func() error {
			out, err := h.Try("ip", "-o", "link", "show", device)
			if err != nil || !strings.Contains(out, "link/ether "+was) {
				return fmt.Errorf("%v, want %s: %s", err, was, out)
			}
			return nil
		})
	}
	w.everyPair([]*member{a, b})
}

// Of two endpoints with one MAC the newest counts, and when it goes the other
// does again. So it is with an address, which two hosts tell of while a
// container moves.
func TestTheNewestOfTwoEndpointsCounts(t *testing.T) {
	t.Parallel()
	w := newWatchfulWorld(t, 3)
	const mac = "02:00:00:00:00:01"
	seer := w.add(w.hosts[2], "seer")
	// A host that comes is a reason to repair everything; what follows is not.
	w.publishAs("h9", endpoint.Key{Network: "front", ContainerID: "first", IfName: "eth0"}, "02:00:00:00:00:09")
	w.awaitForwarding(seer.host, "02:00:00:00:00:09 at 192.0.2.99", true)
	hasMAC := func(req *plugins.Request) { req.Runtime.MAC, _ = net.ParseMAC(mac) }
	old := w.addWith(w.hosts[0], "old", hasMAC)
	w.awaitForwarding(seer.host, mac+" at 192.0.2.1", true)
	newest := w.addWith(w.hosts[1], "newest", hasMAC)
	w.awaitForwarding(seer.host, mac+" at 192.0.2.2", true)
	w.awaitForwarding(seer.host, mac+" at 192.0.2.1", false)
	for _, ip := range slices.Concat(old.ips, newest.ips) {
		w.awaitForwarding(seer.host, ip.String()+" is "+mac, true)
	}
	w.del(newest)
	w.awaitForwarding(seer.host, mac+" at 192.0.2.1", true)
	w.awaitForwarding(seer.host, mac+" at 192.0.2.2", false)
	for _, ip := range newest.ips {
		w.awaitForwarding(seer.host, ip.String()+" is "+mac, false)
	}
	w.everyPair([]*member{seer, old})

	other := endpoint.Key{Network: "front", ContainerID: "moved", IfName: "eth0"}
	const otherMAC = "02:00:00:00:00:02"
	w.publishAs("h9", other, otherMAC, old.ips...)
	for _, ip := range old.ips {
		w.awaitForwarding(seer.host, ip.String()+" is "+otherMAC, true)
	}
	w.withdrawAs("h9", other)
	for _, ip := range old.ips {
		w.awaitForwarding(seer.host, ip.String()+" is "+mac, true)
	}
	w.everyPair([]*member{seer, old})
}

// publishAs and withdrawAs write the key of an endpoint on a host that has no
// agent.
func (w *world) publishAs(host string, key endpoint.Key, mac string, addrs ...netip.Addr) {
	w.Helper()
	var quoted []string
	for _, a := range addrs {
		quoted = append(quoted, fmt.Sprintf("%q", a))
	}
	if len(w.keysBelow("/berth/v1/hosts/"+host)) == 0 {
		w.kv("put", fmt.Sprintf(`{"key":%q,"value":%q}`, key64("/berth/v1/hosts/"+host),
			key64(fmt.Sprintf(`{"name":%q,"instance":"test","address":"192.0.2.99"}`, host))))
	}
	w.kv("put", fmt.Sprintf(`{"key":%q,"value":%q}`, key64(rawKey(host, key)),
		key64(fmt.Sprintf(`{"mac":%q,"addresses":[%s]}`, mac, strings.Join(quoted, ",")))))
}

func (w *world) withdrawAs(host string, key endpoint.Key) {
	w.Helper()
	w.kv("deleterange", fmt.Sprintf(`{"key":%q}`, key64(rawKey(host, key))))
}

func rawKey(host string, key endpoint.Key) string {
	return strings.Join([]string{"/berth/v1/endpoints", key.Network, host, key.ContainerID, key.IfName}, "/")
}

// With an endpoint its entries of both families go, and nobody else's.
func TestNoEntryOfEitherFamilyIsLeft(t *testing.T) {
	t.Parallel()
	w := newWatchfulWorld(t, 2)
	a, stays, seer := w.add(w.hosts[0], "a"), w.add(w.hosts[0], "stays"), w.add(w.hosts[1], "seer")
	w.everyPair([]*member{a, stays, seer})
	if len(a.ips) != 2 {
		t.Fatalf("a has %v; want one address of each family", a.ips)
	}
	gone := macInside(a)
	w.del(a)
	for _, ip := range a.ips {
		w.awaitForwarding(seer.host, ip.String()+" is "+gone, false)
	}
	w.awaitForwarding(seer.host, gone+" at 192.0.2.1", false)
	if have, want := forwarding(seer.host), w.forwardingFor(seer.host, []*member{stays, seer}); !slices.Equal(have, want) {
		t.Errorf("%q\nwant %q", have, want)
	}
}
