package bridge_test

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// soakVariable is how many ADDs and DELs the soak does in parallel; make soak
// sets 10000. The iptables backend, which runs tools and one at a time, does a
// tenth.
const soakVariable = "BERTH_SOAK"

const soakWorkers = 16

func TestParallelAddsAndDelsLeaveNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		total, few := 96, 32
		if asked, err := strconv.Atoi(os.Getenv(soakVariable)); err == nil {
			total, few = asked, asked/10
		}
		if backend == "iptables" {
			total = few
		}
		w := newWorld(t)
		conf := config(1, fmt.Sprintf(`"ipMasq":true,"macspoofchk":true,"firewallBackend":%q,`, backend))
		all := request(w.host.NewContainer("all"), "front", conf, plugins.PortMapping{HostPort: 10000, ContainerPort: 10000, Count: soakWorkers, Protocol: "udp"})
		var containers [soakWorkers]*nettest.Container
		for i := range containers {
			containers[i] = w.host.NewContainer(fmt.Sprintf("c%d", i))
		}
		w.add(all)
		w.del(all)
		w.host.ExpectClean()
		began := time.Now()
		w.soak(containers[:], conf, total)
		t.Logf("%d ADDs and DELs with %s in %v", total, backend, time.Since(began).Round(time.Millisecond))
		w.add(all) // no port is still claimed
		w.del(all)
	})
}

func (w *world) soak(containers []*nettest.Container, conf string, total int) {
	var wg sync.WaitGroup
	for i, c := range containers {
		wg.Go(func() {
			for j := range total / len(containers) {
				req := request(c, "front", conf, plugins.PortMapping{HostPort: uint16(10000 + i), ContainerPort: 80, Protocol: "udp"})
				req.ContainerID = fmt.Sprintf("c%d-%d", i, j)
				if _, err := w.tryAdd(req); err != nil {
					w.Errorf("add %s: %v", req.ContainerID, err)
					return
				}
				w.del(req)
			}
		})
	}
	wg.Wait()
}
