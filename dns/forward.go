package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/netns"
)

// Dial opens a connection as net.Dialer's DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// How upstreams are asked.
const (
	maxUpstreams = 3                      // as the C library: MAXNS of resolv.h
	rounds       = 2                      // a packet may be lost
	hedge        = 400 * time.Millisecond // of silence, after which the next is asked as well
	giveUp       = 4 * time.Second        // before the C library does, after 5 s
	favour       = 30 * time.Second       // how long the fastest is asked first
)

// upstreams remembers which nameserver has answered where the one before it
// has not.
type upstreams struct {
	mu      sync.Mutex
	best    netip.AddrPort
	expires time.Time
}

func (u *upstreams) order(servers []netip.AddrPort) []netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.Index(servers, u.best)
	if i <= 0 || time.Now().After(u.expires) {
		return servers
	}
	return slices.Concat([]netip.AddrPort{u.best}, servers[:i], servers[i+1:])
}

func (u *upstreams) prefer(server netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if server != u.best || time.Now().After(u.expires) {
		u.best, u.expires = server, time.Now().Add(favour)
	}
}

// forward hands a query to the upstreams as it is, so that whatever its sender
// and theirs agree on passes: EDNS, DNSSEC, the case of letters, types that
// are not invented yet. nil: none has answered, or too many are being asked.
func (l *Listener) forward(ctx context.Context, q *question, raw []byte, network string, room int) []byte {
	count := &l.resolver.counts
	count.forwarded.Add(1)
	select {
	case l.forwards <- struct{}{}:
		defer func() { <-l.forwards }()
	default:
		count.failed.Add(1)
		return nil
	}
	servers, dial := l.upstreamsOf(q)
	answer := l.race(ctx, exchange{query: raw, network: network, room: room, dial: dial}, l.resolver.upstreams.order(servers))
	if answer == nil {
		count.failed.Add(1)
	}
	return answer
}

// upstreamsOf are the nameservers that were set for the container or its
// networks, asked from the container's own namespace like by itself, or the
// host's, asked from the host's.
func (l *Listener) upstreamsOf(q *question) ([]netip.AddrPort, Dial) {
	if list := q.zone.dns.Nameservers; len(list) > 0 {
		return l.usable(list), l.dialInside
	}
	return l.usable(l.resolver.host.read().Nameservers), l.resolver.dial
}

// usable leaves out what is no address, and our own listeners: a question
// would come back for ever.
func (l *Listener) usable(list []string) (servers []netip.AddrPort) {
	for _, text := range list {
		addr, err := netip.ParseAddr(text)
		server := netip.AddrPortFrom(addr.Unmap(), 53)
		if err != nil || slices.Contains(l.resolver.own, server) || slices.Contains(servers, server) {
			continue
		}
		servers = append(servers, server)
	}
	return servers[:min(len(servers), maxUpstreams)]
}

// dialInside opens the connection in the client's namespace. The address is
// numeric, so the dialer makes its socket on the calling thread.
func (l *Listener) dialInside(ctx context.Context, network, address string) (conn net.Conn, err error) {
	ns, err := netns.Open(l.path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if id, err := ns.ID(); err != nil || id != l.id {
		return nil, fmt.Errorf("dial in netns %s: the namespace has gone: %w", l.path, errors.Join(err, net.ErrClosed))
	}
	err = ns.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// exchange is one query and how to send it.
type exchange struct {
	query   []byte
	network string
	room    int // octets that the client takes
	dial    Dial
}

type verdict struct {
	server netip.AddrPort
	answer []byte
	err    error
}

// race asks the first server, and the next ones as well when it fails or is
// silent for a while. The first good answer wins; a bad one, such as SERVFAIL,
// counts where there is no good one. A question has one deadline for all.
func (l *Listener) race(ctx context.Context, x exchange, servers []netip.AddrPort) (answer []byte) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	tries := slices.Repeat(servers, rounds)
	verdicts := make(chan verdict, len(tries))
	running := 0
	try := func() {
		if len(tries) > 0 {
			server := tries[0]
			tries = tries[1:]
			running++
			l.wait.Go(func() {
				answer, err := x.ask(ctx, server.String())
				verdicts <- verdict{server, answer, err}
			})
		}
	}
	silence := time.NewTicker(hedge)
	defer silence.Stop()
	for try(); running > 0; {
		select {
		case v := <-verdicts:
			running--
			if v.err == nil && decides(v.answer) {
				l.resolver.upstreams.prefer(v.server)
				return v.answer
			}
			if v.err == nil {
				answer = v.answer
			}
			try()
		case <-silence.C:
			try()
		case <-ctx.Done():
			return answer
		}
	}
	return answer
}

// decides tells an answer after which nobody else need be asked.
func decides(answer []byte) bool {
	rcode := int(answer[3] & 0xf)
	return rcode == wire.RcodeSuccess || rcode == wire.RcodeNameError
}

// ask sends the query under an id of its own from a port of its own, which
// whoever would forge an answer has to guess (RFC 5452), and returns the
// answer under the client's id.
func (x exchange) ask(ctx context.Context, server string) ([]byte, error) {
	conn, err := x.dial(ctx, x.network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	query := bytes.Clone(x.query)
	binary.BigEndian.PutUint16(query, uint16(rand.Uint32()))
	answer, err := x.send(conn, query)
	if err != nil {
		return nil, err
	}
	// Id and letters as the client wrote them.
	copy(answer[:2], x.query)
	if end := questionEnd(x.query); end <= len(answer) && binary.BigEndian.Uint16(answer[4:]) == 1 {
		copy(answer[headerLen:end], x.query[headerLen:end])
	}
	return answer, nil
}

func (x exchange) send(conn net.Conn, query []byte) ([]byte, error) {
	if x.network == "tcp" {
		if err := writeMessage(conn, query); err != nil {
			return nil, err
		}
		answer, err := readMessage(conn)
		if err == nil && !answers(answer, query) {
			err = errors.New("the answer is to another question")
		}
		return answer, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, x.room+1)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n > x.room {
			return nil, fmt.Errorf("the answer has more than the %d octets that the client takes", x.room)
		}
		if answers(buf[:n], query) {
			return bytes.Clone(buf[:n]), nil
		}
	}
}

// answers tells whether a message is the response to the query: the same id
// and question. Of the question's letters the case may differ; a server that
// did not understand the query may leave it out.
func answers(message, query []byte) bool {
	if len(message) < headerLen || message[0] != query[0] || message[1] != query[1] || message[2]&0x80 == 0 {
		return false
	}
	if binary.BigEndian.Uint16(message[4:]) == 0 {
		return !decides(message)
	}
	end := questionEnd(query)
	return len(message) >= end && equalFold(message[headerLen:end], query[headerLen:end])
}

// equalFold compares octets but for the case of ASCII letters (RFC 4343).
func equalFold(a, b []byte) bool {
	small := func(c byte) byte {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	for i := range a {
		if small(a[i]) != small(b[i]) {
			return false
		}
	}
	return true
}

// questionEnd is where the first question of a query ends. The query has been
// decoded once, so it is well formed, and nothing stands before the question
// that its name could point to.
func questionEnd(query []byte) int {
	i := headerLen
	for i < len(query) && query[i] != 0 && query[i] < 0xc0 {
		i += 1 + int(query[i])
	}
	return min(i+5, len(query)) // the root label, type and class
}
