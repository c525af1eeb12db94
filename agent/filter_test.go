package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/agent/mesh"
)

// With etcd away and the next repair an hour ahead, what was flushed is back
// as soon as the kernel has told of it.
func TestAFlushedPacketFilterIsBackAtOnce(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	w := newWorldWith(t, bothFamilies, 1, func(int) []string { return []string{agentEvery + "=1h", agentWireGuard + "=" + mesh.Userspace} })
	h := w.hosts[0]
	w.add(h, "clear")
	w.addTo(h, "secret", "other", asSecret(other))
	w.etcd.Kill()
	for _, damage := range []string{"flush ruleset", "delete table inet berth-sealed", "delete table bridge berth-anycast", "flush chain inet berth-sealed in"} {
		before := sortedLines(h.Rules())
		h.Run("nft", damage)
		begin := time.Now()
		w.eventually("the packet filter as it was before: "+damage, func() error {
			if now := sortedLines(h.Rules()); now != before {
				return fmt.Errorf("%s\nwas\n%s", now, before)
			}
			return nil
		})
		t.Logf("back after %s in %s", damage, time.Since(begin))
	}
}

// sortedLines are those of a text: tables are listed in the order in which they
// were made.
func sortedLines(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}
