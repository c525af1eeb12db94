package bridge_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// CVE-2020-10749: a container is no router for anybody. It advertises itself
// on the wire; the host's bridge and its neighbour, to whom the frame is
// proven to come, take neither a route nor an address.
func TestRogueRouterAdvertisement(t *testing.T) { eachBackend(t, advertiseRogue) }

func advertiseRogue(t *testing.T, backend string) {
	w := newWorld(t)
	conf := config(1, with(backend))
	evil, peer := w.host.NewContainer("evil"), w.host.NewContainer("peer")
	w.add(request(evil, "front", conf))
	w.add(request(peer, "front", conf))
	// A device that believes routers: without it, nothing that follows
	// would tell whether anybody could have been deceived.
	credulous := nettest.NewHost(t, "credulous")
	nettest.Link(w.host, "vcred", nil, credulous, "eth0", nil)
	credulous.Run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=2")
	w.host.Run("ip", "link", "set", "vcred", "master", "br1")
	seen := peer.Sniff("eth0")
	rogue := netip.MustParsePrefix("2001:db8:bad::/64")
	nettest.Eventually(t, "a host that believes routers is deceived", func() error {
		evil.AdvertiseRouter("eth0", rogue)
		if out := credulous.Run("ip", "-6", "route"); !strings.Contains(out, "default") || !strings.Contains(out, "2001:db8:bad:") {
			return errors.New(out)
		}
		return nil
	})
	if !arrived(seen.Frames()) {
		t.Fatal("the advertisement never reached the neighbour")
	}
	for name, h := range map[string]*nettest.Host{"host": w.host, "peer": peer.Host} {
		if out := h.Run("ip", "-6", "address"); strings.Contains(out, "2001:db8:bad:") {
			t.Errorf("%s took an address:\n%s", name, out)
		}
		if out := h.Run("ip", "-6", "route", "show", "table", "all"); strings.Contains(out, "2001:db8:bad:") || strings.Contains(out, "proto ra") {
			t.Errorf("%s took a route:\n%s", name, out)
		}
	}
}

// arrived looks for a router advertisement, ICMPv6 type 134 (RFC 4861).
func arrived(frames []nettest.Frame) bool {
	for _, f := range frames {
		if _, _, protocol, body := f.IP(); protocol == 58 && len(body) > 0 && body[0] == 134 {
			return true
		}
	}
	return false
}
