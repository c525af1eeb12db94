package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	wire "github.com/miekg/dns"
)

const (
	headerLen = 12 // RFC 1035, section 4.1.1
	maxPacket = 4096
	maxStream = 1<<16 - 1
)

// patience is how long a client may take over one message on a connection,
// from the end of the one before. One that sends half a question and goes
// silent, or resets, costs no more than that (CVE-2026-35406).
const patience = 5 * time.Second

// servePackets answers what comes by UDP. What the records of this host tell
// is answered at once; a question that waits for somebody is on its own, so
// that it holds up no other.
func (l *Listener) servePackets(ctx context.Context) {
	buf := make([]byte, maxPacket)
	for {
		n, client, err := l.packets.ReadFrom(buf)
		if err != nil {
			if !l.recover(ctx, err) {
				return
			}
			continue
		}
		answer, rest := l.decide(ctx, buf[:n], "udp")
		if rest == nil {
			l.sendPacket(answer, client)
			continue
		}
		rest.raw = append([]byte(nil), buf[:n]...)
		select {
		case l.questions <- struct{}{}:
		case <-ctx.Done():
			return
		}
		l.wait.Go(func() {
			defer func() { <-l.questions }()
			l.sendPacket(l.await(ctx, rest, "udp"), client)
		})
	}
}

// sendPacket sends an answer, where there is one. A client that has gone does
// not want it.
func (l *Listener) sendPacket(answer []byte, client net.Addr) {
	if answer != nil {
		_, _ = l.packets.WriteTo(answer, client)
	}
}

// serveStreams answers what comes by TCP, as many connections at a time as
// maxStreams allows.
func (l *Listener) serveStreams(ctx context.Context) {
	for {
		conn, err := l.streams.Accept()
		if err != nil {
			if !l.recover(ctx, err) {
				return
			}
			continue
		}
		select {
		case l.open <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		l.wait.Go(func() {
			defer func() { <-l.open }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			l.serveStream(ctx, conn)
		})
	}
}

// recover tells whether to go on after an error of a socket that stands, such
// as a process with too many files. It waits a little, so that an error that
// stays does not keep a processor busy.
func (l *Listener) recover(ctx context.Context, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	l.resolver.log.Warn("read question", "netns", l.path, "err", err)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// serveStream answers the questions of one connection in turn.
func (l *Listener) serveStream(ctx context.Context, conn net.Conn) {
	for {
		if conn.SetDeadline(time.Now().Add(patience)) != nil {
			return
		}
		query, err := readMessage(conn)
		if err != nil {
			return // the client has ended, died or dawdled
		}
		answer := l.respond(ctx, query, "tcp")
		if answer == nil || conn.SetDeadline(time.Now().Add(patience)) != nil || writeMessage(conn, answer) != nil {
			return
		}
	}
}

// readMessage reads a message and its length before it (RFC 1035, section
// 4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// writeMessage sends both in one segment (RFC 7766, section 8).
func writeMessage(w io.Writer, message []byte) error {
	if len(message) > maxStream {
		return io.ErrShortBuffer
	}
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	_, err := w.Write(append(framed, message...))
	return err
}

// pending is a question whose answer others have.
type pending struct {
	*question
	query  *wire.Msg
	raw    []byte
	looked bool // into the records: what is left is to ask the upstreams
}

// respond answers one message. nil: it deserves none.
func (l *Listener) respond(ctx context.Context, raw []byte, network string) []byte {
	answer, rest := l.decide(ctx, raw, network)
	if rest != nil {
		return l.await(ctx, rest, network)
	}
	return answer
}

// decide answers what can be answered without waiting for anybody; of
// anything else it returns what is left to do.
func (l *Listener) decide(ctx context.Context, raw []byte, network string) ([]byte, *pending) {
	query := new(wire.Msg)
	err := query.Unpack(raw)
	if len(raw) < headerLen || query.Response {
		return nil, nil
	}
	if err != nil || len(query.Question) != 1 {
		return pack(reply(&wire.Msg{MsgHdr: query.MsgHdr}, wire.RcodeFormatError), query, network), nil
	}
	l.resolver.counts.queries.Add(1)
	q, err := l.ask(query)
	if err != nil {
		l.resolver.log.Error("answer question", "err", err)
		return pack(reply(query, wire.RcodeServerFailure), query, network), nil
	}
	rest := &pending{question: q, query: query, raw: raw}
	if q.mayAskOthers() {
		return nil, rest
	}
	if answer := l.look(ctx, rest, network); answer != nil {
		return answer, nil
	}
	return nil, rest
}

// look answers from the records. nil: they do not tell.
func (l *Listener) look(ctx context.Context, p *pending, network string) []byte {
	p.looked = true
	answer := p.answer(ctx, p.query)
	if answer == nil {
		return nil
	}
	l.resolver.counts.local.Add(1)
	return pack(answer, p.query, network)
}

// await answers what decide has left.
func (l *Listener) await(ctx context.Context, p *pending, network string) []byte {
	if !p.looked {
		if answer := l.look(ctx, p, network); answer != nil {
			return answer
		}
	}
	if answer := l.forward(ctx, p.question, p.raw, network, room(p.query, network)); answer != nil {
		return answer
	}
	return pack(reply(p.query, wire.RcodeServerFailure), p.query, network)
}

// room is how many octets the client takes.
func room(query *wire.Msg, network string) int {
	if network == "tcp" {
		return maxStream
	}
	if opt := query.IsEdns0(); opt != nil {
		return max(int(opt.UDPSize()), wire.MinMsgSize)
	}
	return wire.MinMsgSize
}

func pack(answer, query *wire.Msg, network string) []byte {
	answer.Truncate(room(query, network))
	raw, err := answer.Pack()
	if err != nil {
		return nil
	}
	return raw
}
