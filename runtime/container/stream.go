package container

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// A client and the supervisor that it has started speak frames over a socket:
// one octet for the kind, four for the length, big endian, and the payload.
const (
	frameStdin    = 'i' // to the container
	frameStdinEnd = 'e' // no more
	frameResize   = 'w' // Winsize
	frameSignal   = 's' // one octet
	frameWarning  = 'n' // from the supervisor: what does not work as one may expect
	frameStarted  = 'r' // the container runs
	frameStdout   = 'o'
	frameStderr   = 'x'
	frameExit     = 'q' // Outcome; the last
)

// maxFrame bounds what a frame makes its reader allocate.
const maxFrame = 64 << 10

// Winsize is the size of a terminal in characters.
type Winsize struct{ Rows, Cols uint16 }

// Outcome is how a container ended, or that it could not be started.
type Outcome struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

// frameWriter writes whole frames from several goroutines. After the first
// error, which means that the other side has gone, it writes no more.
type frameWriter struct {
	mu  sync.Mutex
	w   io.Writer
	err error
}

func (f *frameWriter) write(kind byte, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for first := true; f.err == nil && (first || len(payload) > 0); first = false {
		part := payload[:min(len(payload), maxFrame)]
		payload = payload[len(part):]
		frame := make([]byte, 5, 5+len(part))
		frame[0] = kind
		binary.BigEndian.PutUint32(frame[1:], uint32(len(part)))
		_, f.err = f.w.Write(append(frame, part...))
	}
	return f.err
}

func (f *frameWriter) writeJSON(kind byte, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return f.write(kind, raw)
}

// frames makes a Writer of one kind of frame.
func (f *frameWriter) frames(kind byte) io.Writer { return kindWriter{f, kind} }

type kindWriter struct {
	f    *frameWriter
	kind byte
}

func (k kindWriter) Write(p []byte) (int, error) {
	if err := k.f.write(k.kind, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("read frame: %d octets, at most %d are allowed", n, maxFrame)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	return head[0], payload, nil
}
