package bridge_test

import (
	"fmt"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// layer2 is a network without a gateway, with more keys.
func layer2(keys string) string {
	return fmt.Sprintf(`{"type":"bridge","bridge":"br1",%s"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"fd10:1::/64"}]]}}`, keys)
}

func TestVLANsDoNotReachEachOther(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs)
	w := newWorld(t)
	a, b, other := w.host.NewContainer("a"), w.host.NewContainer("b"), w.host.NewContainer("other")
	w.add(request(a, "five", layer2(`"vlan":5,`)))
	b5 := w.add(request(b, "five", layer2(`"vlan":5,`)))
	w.add(request(other, "six", layer2(`"vlan":6,`)))
	for _, ip := range b5.IPs {
		address := ip.Address.Addr().String()
		a.Ping(address)
		if err := other.TryPing(address); err == nil {
			t.Errorf("a container of VLAN 6 reaches %s in VLAN 5", address)
		}
	}
}
