package netdev_test

import (
	"net"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

func TestABridgeThatIsThereKeepsItsAlias(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	dev := handle(t, h)
	for _, want := range []struct{ alias, mac string }{{"berth:one", "02:00:00:00:00:01"}, {"berth:two", "02:00:00:00:00:02"}} {
		mac, err := net.ParseMAC(want.mac)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dev.EnsureBridge("br0", want.alias, mac, 1400); err != nil {
			t.Fatal(err)
		}
		link, err := dev.Link("br0")
		if err != nil {
			t.Fatal(err)
		}
		if a := link.Attrs(); a.Alias != "berth:one" || a.HardwareAddr.String() != want.mac || a.MTU != 1400 {
			t.Errorf("alias %s, MAC %s, MTU %d; want berth:one, %s, 1400", a.Alias, a.HardwareAddr, a.MTU, want.mac)
		}
	}
	// What snoops without a querier has a timer for every port, and no gain.
	if out := h.Run("ip", "-d", "link", "show", "br0"); !strings.Contains(out, "mcast_snooping 0 ") {
		t.Errorf("the bridge snoops:\n%s", out)
	}
}

func TestNoBridgeInPlaceOfAnotherDevice(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	h.Run("ip", "link", "add", "br0", "type", "veth", "peer", "name", "v1")
	_, err := handle(t, h).EnsureBridge("br0", "berth:one", net.HardwareAddr{2, 0, 0, 0, 0, 1}, 1400)
	if err == nil || !strings.Contains(err.Error(), "create bridge br0: a device of that name is a veth") {
		t.Errorf("EnsureBridge in place of a veth device: %v", err)
	}
}
