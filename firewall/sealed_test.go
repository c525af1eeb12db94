package firewall_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
)

// vxlan is the header of a VNI and some payload.
func vxlan(vni byte) []byte { return append([]byte{8, 0, 0, 0, 0, 0, vni, 0}, "payload"...) }

func sendUDP(t *testing.T, from *nettest.Host, to string, data []byte) error {
	t.Helper()
	return from.Do(func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(data)
		return err
	})
}

// hears tells whether conn hears what is sent of VNI 42. What comes after it by
// the same way, of a network that is not sealed, proves that it would have.
func hears(t *testing.T, conn net.PacketConn, send func(vni byte) error) bool {
	t.Helper()
	_ = send(42) // the kernel may tell the sender
	if err := send(43); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for {
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("nothing arrives, not even what is not sealed")
		}
		switch buf[6] {
		case 42:
			return true
		case 43:
			return false
		}
	}
}

func TestSealedNetworksTravelByTheMeshOnly(t *testing.T) {
	t.Parallel()
	h, other := nettest.NewHost(t, "h"), nettest.NewHost(t, "other")
	nettest.Link(h, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, other, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	nettest.Link(h, "mesh", []string{"fd00::1/64"}, other, "mesh", []string{"fd00::2/64"})
	// A tunnel knows no neighbour discovery, which the rules would stop.
	for from, to := range map[*nettest.Host]*nettest.Host{h: other, other: h} {
		fields := strings.Fields(to.Run("ip", "-o", "link", "show", "mesh"))
		mac := fields[slices.Index(fields, "link/ether")+1]
		address := map[*nettest.Host]string{h: "fd00::1", other: "fd00::2"}[to]
		from.Run("ip", "neighbour", "replace", address, "lladdr", mac, "dev", "mesh")
	}
	seal := firewall.Sealed{Device: "mesh", Port: 4789, VNI: 42}
	do := func(fn func() error) {
		t.Helper()
		if err := h.Do(fn); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Do(func() error { return firewall.CheckSealed(seal) }); !errors.Is(err, firewall.ErrMissing) {
		t.Errorf("CheckSealed before Seal: %v", err)
	}
	for range 2 {
		do(func() error { return firewall.Seal(seal) })
	}
	do(func() error { return firewall.CheckSealed(seal) })

	for _, tt := range []struct {
		from, to *nettest.Host
		address  string
	}{{other, h, "192.0.2.1"}, {other, h, "2001:db8::1"}, {h, other, "192.0.2.2"}, {h, other, "2001:db8::2"}} {
		to := netip.AddrPortFrom(netip.MustParseAddr(tt.address), 4789).String()
		conn := tt.to.ListenPacket("udp", to)
		if hears(t, conn, func(vni byte) error { return sendUDP(t, tt.from, to, vxlan(vni)) }) {
			t.Errorf("%s hears a packet of the sealed network at %s", tt.to.Name, to)
		}
	}
	mesh := h.ListenPacket("udp", "[fd00::1]:4789")
	if err := sendUDP(t, other, "[fd00::1]:4789", vxlan(42)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	mesh.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, _, err := mesh.ReadFrom(buf); err != nil || string(buf[:n]) != string(vxlan(42)) {
		t.Errorf("by the mesh: %v\n%s", err, h.Run("nft", "list", "ruleset"))
	}
	if err := other.TryPing("fd00::1"); err == nil {
		t.Error("a peer reaches the host itself by the mesh")
	}
	checkUnseal(t, h, seal, do)
}

func checkUnseal(t *testing.T, h *nettest.Host, seal firewall.Sealed, do func(func() error)) {
	t.Helper()
	h.Run("nft", "flush", "chain", "inet", "berth-sealed", "in")
	if err := h.Do(func() error { return firewall.CheckSealed(seal) }); !errors.Is(err, firewall.ErrMissing) {
		t.Errorf("CheckSealed of a flushed chain: %v", err)
	}
	second := seal
	second.VNI = 44
	do(func() error { return firewall.Seal(second) })
	do(func() error { return firewall.CheckSealed(seal) })
	for range 2 {
		do(func() error { return firewall.Unseal(seal) })
	}
	if rules := h.Run("nft", "list", "table", "inet", "berth-sealed"); !strings.Contains(rules, "4789 . 0.0.44.0") || strings.Contains(rules, "0.0.42.0") {
		t.Errorf("after the first network went:\n%s", rules)
	}
	for range 2 {
		do(func() error { return firewall.Unseal(second) })
	}
	if rules := h.Run("nft", "list", "ruleset"); rules != "" {
		t.Errorf("after the last network went:\n%s", rules)
	}
}
