package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// floodWatch listens on the underlay of every host.
type floodWatch map[*nettest.Host]*nettest.Sniffer

func (w *world) watchFloods() floodWatch {
	f := floodWatch{}
	for _, h := range w.hosts {
		f[h] = h.Sniff("eth0")
	}
	return f
}

// found is what crossed the underlay inside VXLAN though the hosts know who is
// where: frames for everybody, and questions and answers of ARP and ND.
func (f floodWatch) found(t testing.TB) (found []string) {
	t.Helper()
	for h, s := range f {
		seen := 0
		for _, frame := range s.Frames() {
			vni, inner, ok := frame.VXLAN(4789)
			if !ok {
				continue
			}
			seen++
			if inner.Flooded() || asksForNeighbour(inner) {
				found = append(found, fmt.Sprintf("%s: VNI %d: %s", h.Name, vni, inner))
			}
		}
		if seen == 0 {
			t.Errorf("%s: no VXLAN was seen", h.Name)
		}
	}
	return found
}

// asksForNeighbour tells whether a frame is ARP, or a neighbour solicitation
// or advertisement (RFC 4861, sections 4.3 and 4.4).
func asksForNeighbour(f nettest.Frame) bool {
	const arp, icmpv6 = 0x0806, 58
	_, _, protocol, body := f.IP()
	return f.EtherType() == arp || protocol == icmpv6 && len(body) > 0 && (body[0] == 135 || body[0] == 136)
}

// Each pair of containers reaches each other, by entries that are exactly
// theirs, and nothing else crosses the underlay: neither at first nor after
// the entries were lost.
func TestNothingIsFlooded(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]addressing{"IPv4": bothFamilies, "IPv6": onlyIPv6, "IPv6 advertised": advertisedIPv6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOn(t, a, 3)
			var members []*member
			for i, h := range w.hosts {
				members = append(members, w.add(h, fmt.Sprintf("c%d", i)))
			}
			watch := w.watchFloods()
			w.everyPair(members)
			w.expectExact(members)
			for _, nobody := range []string{"10.42.0.254", "fd42::dead"} {
				if err := members[0].TryPing(nobody); err == nil {
					t.Errorf("%s answers, which nobody has", nobody)
				}
			}
			members[0].Ping("10.42.0.1")
			w.flush(w.hosts[0])
			w.everyPair(members)
			w.expectExact(members)
			if found := watch.found(t); len(found) > 0 {
				t.Errorf("crossed the underlay:\n%s", strings.Join(found, "\n"))
			}
			w.expectPlace(w.hosts[0])
			w.expectFloodsFound(members, watch)
		})
	}
}

// flush removes all that a host knows of the others' containers.
func (w *world) flush(h *nettest.Host) {
	w.Helper()
	for line := range strings.Lines(h.Run("bridge", "fdb", "show", "dev", "vx-front")) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "dst" {
			h.Run("bridge", "fdb", "del", f[0], "dev", "vx-front", "self")
		}
	}
	h.Run("ip", "neighbour", "flush", "dev", "bo-front", "nud", "permanent")
	if left := forwarding(h); len(left) > 0 {
		w.Logf("the agent was faster than the test: %q", left)
	}
}

// expectExact: every host forwards to the containers that there are elsewhere,
// and to nobody else.
func (w *world) expectExact(members []*member) {
	w.Helper()
	for _, h := range w.hosts {
		w.eventually("the entries of "+h.Name, func() error {
			if have, want := forwarding(h), w.forwardingFor(h, members); !slices.Equal(have, want) {
				return fmt.Errorf("%q\nwant %q", have, want)
			}
			return nil
		})
	}
}

// expectPlace: the agent has found out where its host is on the underlay, what
// fits through its tunnels, and that the others answer through them.
func (w *world) expectPlace(h *nettest.Host) {
	w.Helper()
	mtu := 1450
	if w.vtep(1).Is6() {
		mtu = 1430
	}
	if out := h.Run("ip", "-o", "link", "show", "vx-front"); !strings.Contains(out, fmt.Sprintf(" mtu %d ", mtu)) {
		w.Errorf("want an MTU of %d: %s", mtu, out)
	}
	w.eventually("the status of "+h.Name, func() error {
		s, err := w.status(h)
		if err != nil {
			return err
		}
		if want := w.vtep(1).String(); s.Address != want || len(s.Errors)+len(s.Warnings) > 0 {
			return fmt.Errorf("%+v, want the address %s and no problems", s, want)
		}
		for _, p := range s.Cluster.Peers {
			if p.VXLAN != "good" || p.Address.Is4() != w.vtep(1).Is4() {
				return fmt.Errorf("peer %+v", p)
			}
		}
		return nil
	})
}

// expectFloodsFound breaks a host's devices so that they flood as anybody's
// would, until the watch tells of it: had it been blind, its silence before
// would mean nothing.
func (w *world) expectFloodsFound(members []*member, watch floodWatch) {
	w.Helper()
	h := members[0].host
	w.eventually("a flood to be found", func() error {
		// Each time: the agent takes the entry back.
		h.Run("bridge", "link", "set", "dev", "vx-front", "flood", "on", "bcast_flood", "on", "mcast_flood", "on", "neigh_suppress", "off")
		h.Run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx-front", "dst", w.vtep(2).String(), "self", "permanent")
		members[0].Run("ip", "neighbour", "flush", "dev", "eth0")
		_, _ = members[0].Try("ping", "-c", "1", "-W", "1", "10.42.0.254")
		_, _ = members[0].Try("ping", "-c", "1", "-W", "1", "fd42::dead")
		found := strings.Join(watch.found(w), "\n")
		for _, want := range []string{"VNI", " ARP ", " ICMP "} {
			if !strings.Contains(found, want) {
				return fmt.Errorf("no %q in %q", want, found)
			}
		}
		return nil
	})
}
