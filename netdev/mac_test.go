package netdev_test

import (
	"testing"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

func TestStableMACIsTheSameAgainAndAnotherOnAnotherHost(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, identity := range map[string]string{"a": "0123456789abcdef0123456789abcdef\n", "b": "fedcba9876543210fedcba9876543210\n", "c": ""} {
		h := nettest.NewHost(t, name)
		h.Run("sh", "-c", "printf '"+identity+"' >/etc/machine-id")
		first, again := stableMAC(t, h, "eth0"), stableMAC(t, h, "eth0")
		if first != again {
			t.Errorf("host %s: %s, and then %s", name, first, again)
		}
		for _, mac := range []string{first, stableMAC(t, h, "eth1")} {
			if other := seen[mac]; other != "" {
				t.Errorf("host %s has %s, as host %s", name, mac, other)
			}
			seen[mac] = name
		}
	}
}

func stableMAC(t *testing.T, h *nettest.Host, ifname string) (s string) {
	t.Helper()
	err := h.Do(func() error {
		mac, err := netdev.StableMAC("front", "c1", ifname)
		s = mac.String()
		if mac[0]&0x03 != 0x02 {
			t.Errorf("%s is not unicast and locally administered", mac)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
