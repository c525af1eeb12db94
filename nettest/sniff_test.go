package nettest_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

func TestSnifferSeesWhatWasSentAndNothingElse(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	s := b.Sniff("eth0")
	b.Serve("udp4", "192.0.2.2:7")
	a.Ask("udp4", "192.0.2.2:7")

	to7 := func(f nettest.Frame) bool { _, dst := f.Ports(); return dst == 7 }
	if frames := s.Frames(); !slices.ContainsFunc(frames, to7) {
		t.Errorf("no packet to port 7 among %v", frames)
	}
	frames := s.Frames()
	to8 := func(f nettest.Frame) bool { _, dst := f.Ports(); return dst == 8 }
	if slices.ContainsFunc(frames, to8) {
		t.Errorf("a packet to port 8 among %v", frames)
	}
	i := slices.IndexFunc(frames, to7)
	if src, dst, protocol, _ := frames[i].IP(); src != netip.MustParseAddr("192.0.2.1") || dst != netip.MustParseAddr("192.0.2.2") || protocol != 17 {
		t.Errorf("frame %v", frames[i])
	}
	if !slices.ContainsFunc(frames, func(f nettest.Frame) bool {
		return f.Flooded() && strings.Contains(f.String(), "ARP 192.0.2.1 is at")
	}) {
		t.Errorf("no ARP request of a among %v", frames)
	}
}

func TestInjectedFramesArrive(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	s := b.Sniff("eth0")
	forged := make([]byte, 60)
	copy(forged, "\xff\xff\xff\xff\xff\xff\x02forge")
	binary.BigEndian.PutUint16(forged[12:], 0x88b6)
	a.Inject("eth0", forged)
	if frames := s.Frames(); !slices.ContainsFunc(frames, func(f nettest.Frame) bool { return bytes.Equal(f, forged) }) {
		t.Errorf("the forged frame is not among %v", frames)
	}
}

func TestVXLANIsSeenThrough(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.Run("ip", "link", "add", "vx", "type", "vxlan", "id", "42", "remote", "192.0.2.2", "dstport", "4789")
	a.Run("ip", "address", "add", "10.42.0.1/24", "dev", "vx")
	s := b.Sniff("eth0")
	a.Run("ip", "link", "set", "vx", "up")
	if err := a.TryPing("10.42.0.2"); err == nil {
		t.Error("a ping through a VXLAN without a second end was answered")
	}
	if !slices.ContainsFunc(s.Frames(), func(f nettest.Frame) bool {
		vni, inner, ok := f.VXLAN(4789)
		return ok && vni == 42 && inner.Flooded() && strings.Contains(inner.String(), "ARP 10.42.0.1 is at")
	}) {
		t.Errorf("no ARP request with VNI 42 among %v", s.Frames())
	}
}

// Bytes of a wire may be anything.
func FuzzFrame(f *testing.F) {
	f.Add(make([]byte, 60))
	f.Add([]byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x4f"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		frame := nettest.Frame(raw)
		_ = frame.String()
		frame.VXLAN(4789)
	})
}
