package firewall_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
)

func TestAWatchTellsOfWhatIsRemoved(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	seal := firewall.Sealed{Device: "mesh", Port: 4789, VNI: 42}
	gateway := firewall.Anycast{Port: "vx-front", MAC: net.HardwareAddr{0x0a, 'b', 'g', 0, 0, 42}, Gateways: []netip.Addr{netip.MustParseAddr("10.42.0.1")}}
	var w *firewall.Watch
	open := func() (err error) { w, err = firewall.NewWatch(); return err }
	put := func() error { return errors.Join(firewall.Seal(seal), firewall.KeepGateway(gateway)) }
	for _, damage := range []string{
		"flush ruleset",
		"delete table inet berth-sealed",
		"delete table bridge berth-anycast",
		"flush chain inet berth-sealed out",
		"delete element inet berth-sealed networks { 4789 . 0.0.42.0 }",
		"delete element bridge berth-anycast gateway4 { vx-front . 10.42.0.1 }",
	} {
		if err := errors.Join(h.Do(put), h.Do(open)); err != nil {
			t.Fatal(err)
		}
		told := make(chan error, 2)
		go func() {
			for range cap(told) {
				told <- w.Next(time.Millisecond)
			}
		}()
		// What others have, and what is added, is nothing to tell of.
		h.Run("nft", "add table inet other; add chain inet other c; add rule inet other c drop; delete table inet other")
		h.Run("nft", "add element inet berth-sealed networks { 4789 . 0.0.43.0 }")
		h.Run("nft", damage)
		select {
		case err := <-told:
			if err != nil {
				t.Errorf("after %s: %v", damage, err)
			}
		case <-time.After(nettest.Patience):
			t.Errorf("%s was not told of", damage)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := <-told; !errors.Is(err, os.ErrClosed) {
			t.Errorf("something else was told of besides %s, or the watch does not end: %v", damage, err)
		}
	}
}
