package netdev_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

func TestProbeFindsWhoHasAnAddress(t *testing.T) {
	t.Parallel()
	a, b := nettest.NewHost(t, "a"), nettest.NewHost(t, "b")
	nettest.Link(a, "eth0", nil, b, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	c, err := netdev.DialIn(a.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dev, err := c.Device("eth0")
	if err != nil {
		t.Fatal(err)
	}
	for addr, taken := range map[string]bool{
		"192.0.2.2/24": true, "192.0.2.3/24": false, "2001:db8::2/64": true, "2001:db8::3/64": false,
	} {
		err := a.Do(func() error { return netdev.Probe(dev, []netip.Prefix{netip.MustParsePrefix(addr)}) })
		if errors.Is(err, netdev.ErrAddressTaken) != taken || err != nil && !taken {
			t.Errorf("probe of %s: %v; taken is %v", addr, err, taken)
		}
	}
}
