package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/nettest"
)

// What an encrypted network's packets have room for follows from the
// underlay, and what does not fit is refused by what would.
func TestTheMTUOfAnEncryptedNetwork(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	for name, tt := range map[string]struct {
		addressing
		takes int // by WireGuard and VXLAN
	}{"IPv4": {bothFamilies, 60 + 70}, "IPv6": {onlyIPv6, 80 + 70}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldWith(t, tt.addressing, 2, func(int) []string { return []string{agentWireGuard + "=" + mesh.Userspace} })
			h := w.hosts[0]
			w.expectNoRoom(h, 1500, 1450, fmt.Sprintf("mtu: 1450 does not fit: wg-berth carries %d, of which VXLAN takes 70; use at most %d", 1570-tt.takes, 1500-tt.takes))
			w.expectNoRoom(h, 1400, 0, fmt.Sprintf("leaves %d bytes to the network's packets, and IPv6 needs 1280; raise the underlay's MTU by %d", 1400-tt.takes, tt.takes-120))
			w.expectNoRoom(h, 1300, 0, fmt.Sprintf("eth0 carries packets of 1300 bytes, of which WireGuard takes %d; raise its MTU to %d", tt.takes-70, 1210+tt.takes))
			w.expectMTU(h, 1500, 1280, 1280)
			w.expectMTU(h, 9000, 0, 9000-tt.takes)
			w.addTo(w.hosts[1], "small", "n9000", withMTU(0))
			w.expectProblem(h, fmt.Sprintf("create encrypted networks with -o mtu=%d", 1500-tt.takes))
		})
	}
}

// withMTU is an encrypted network; 0: without an mtu of its own.
func withMTU(mtu int) string {
	if mtu == 0 {
		return secret
	}
	return strings.Replace(secret, "{", fmt.Sprintf(`{"mtu":%d,`, mtu), 1)
}

// expectNoRoom: a container on a new encrypted network is refused on an
// underlay of such an MTU.
func (w *world) expectNoRoom(h *nettest.Host, underlay, mtu int, want string) {
	w.Helper()
	h.Run("ip", "link", "set", "eth0", "mtu", fmt.Sprint(underlay))
	c := h.NewContainer(fmt.Sprintf("x%d", underlay))
	req := request(c)
	req.Name, req.Config = "none"+c.Name, []byte(withMTU(mtu))
	_, err := tryAdd(h, req)
	if err == nil {
		err = errors.New("it was added")
	}
	if !strings.Contains(err.Error(), want) {
		w.Errorf("on an underlay of %d: %v\nwant %q", underlay, err, want)
	}
}

// expectMTU adds a container on a new encrypted network on an underlay of such
// an MTU.
func (w *world) expectMTU(h *nettest.Host, underlay, configured, want int) {
	w.Helper()
	h.Run("ip", "link", "set", "eth0", "mtu", fmt.Sprint(underlay))
	m := w.addTo(h, fmt.Sprintf("c%d", underlay), fmt.Sprintf("n%d", underlay), withMTU(configured))
	if out := m.Run("ip", "-o", "link", "show", "eth0"); !strings.Contains(out, fmt.Sprintf(" mtu %d ", want)) {
		w.Errorf("on an underlay of %d, want an MTU of %d: %s", underlay, want, out)
	}
}
