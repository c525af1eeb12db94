package ipam_test

import (
	"fmt"
	"testing"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/state"
)

// BenchmarkLeaseAndRelease is an ADD's and a DEL's share of IPAM, with the
// state opened for each as the plugin does, beside other leases.
func BenchmarkLeaseAndRelease(b *testing.B) {
	for _, subnet := range []string{"10.1.0.0/16", "fd00::/64"} {
		for _, leases := range []int{0, 10, 1000, 10_000, 65_000} {
			b.Run(fmt.Sprintf("%s/%d", subnet, leases), func(b *testing.B) {
				w := newBench(b, `{"type":"berth-ipam","ranges":[[{"subnet":"`+subnet+`"}]]}`)
				occupy(b, w, leases)
				for b.Loop() {
					w.lease("new")
					w.release("new")
				}
			})
		}
	}
}

func occupy(b *testing.B, w *bench, leases int) {
	b.Helper()
	const batch = 500
	for from := 0; from < leases; from += batch {
		err := w.store.Update(func(tx *state.Tx) error {
			for i := from; i < min(from+batch, leases); i++ {
				if _, err := ipam.Lease(tx, w.config, ipam.Request{Key: key(fmt.Sprintf("%064d", i))}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
