package probe

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
)

var src, dst = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}

func TestAFrameIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	for kind := range Kind(nKinds) {
		want := message{kind: kind, token: 1 << 60, answer: kind == UDP, good: kind == TCP}
		b := frame(kind, src, dst, want)
		r, err := open(b)
		if err != nil || r.message != want || !bytes.Equal(r.from, src) || !r.good {
			t.Errorf("kind %d: %+v, %v", kind, r, err)
		}
	}
}

func TestABrokenChecksumIsSeen(t *testing.T) {
	t.Parallel()
	b := frame(Plain, src, dst, message{token: 7})
	b[len(b)-1]++
	if r, err := open(b); err != nil || r.good {
		t.Errorf("a changed payload: %+v, %v", r, err)
	}
	for _, kind := range []Kind{UDP, TCP} {
		// As from a card that does not fill it in.
		b := frame(kind, src, dst, message{kind: kind})
		b[0] = 0
		if r, err := open(b); err != nil || r.good {
			t.Errorf("kind %d that nobody has filled in: %+v, %v", kind, r, err)
		}
		// As from one that does.
		start := vnetLen + int(binary.NativeEndian.Uint16(b[6:]))
		field := b[start+int(binary.NativeEndian.Uint16(b[8:])):]
		binary.BigEndian.PutUint16(field, ^sum(b[start:], 0))
		if r, err := open(b); err != nil || !r.good {
			t.Errorf("kind %d that the card has filled in: %+v, %v", kind, r, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for kind := range Kind(nKinds) {
		f.Add(frame(kind, src, dst, message{kind: kind, token: 1}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := open(b); err == nil && len(r.from) != 6 {
			t.Errorf("%+v", r)
		}
	})
}
