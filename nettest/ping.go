package nettest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	pings        = 3
	pingInterval = 300 * time.Millisecond
)

// ErrNoReply says that no echo reply came.
var ErrNoReply = errors.New("no echo reply")

// TryPing sends up to three echo requests from the host to a literal address,
// with a zone where it is link-local, and returns nil with the first reply. It
// needs no ping program; it takes about a second where nobody answers.
func (h *Host) TryPing(dst string) error {
	if err := h.Do(func() error { return PingFromHere(dst) }); err != nil {
		return fmt.Errorf("from %s: %w", h.Name, err)
	}
	return nil
}

// PingFromHere is TryPing from the calling thread's namespace.
func PingFromHere(dst string) error {
	addr, err := netip.ParseAddr(dst)
	if err == nil {
		err = ping(addr)
	}
	if err != nil {
		return fmt.Errorf("ping %s: %w", dst, err)
	}
	return nil
}

// Ping is TryPing, repeated until there is a reply; none within Patience fails
// the test. A link that has just come up may lose the first neighbour
// solicitation, and the kernel sends the next one only after a second.
func (h *Host) Ping(dst string) {
	h.t.Helper()
	Eventually(h.t, "ping", func() error { return h.TryPing(dst) })
}

// echo is a family's words for the same exchange (RFC 792, RFC 4443).
type echo struct {
	network, any   string
	request, reply icmp.Type
	protocol       int
}

func echoFor(addr netip.Addr) echo {
	if addr.Is4() {
		return echo{"ip4:icmp", "0.0.0.0", ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply, 1}
	}
	return echo{"ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58}
}

func ping(addr netip.Addr) error {
	e := echoFor(addr)
	// A raw socket: the datagram one of ping_group_range is shut to every
	// group in a new namespace.
	conn, err := icmp.ListenPacket(e.network, e.any)
	if err != nil {
		return err
	}
	defer conn.Close()
	// A raw socket sees the replies to everybody on the host; random data
	// tells ours.
	data := make([]byte, 16)
	rand.Read(data)
	for seq := range pings {
		msg := icmp.Message{Type: e.request, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: seq, Data: data}}
		raw, err := msg.Marshal(nil)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(raw, &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(pingInterval))
		if err := awaitReply(conn, e, data); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return ErrNoReply
}

func awaitReply(conn *icmp.PacketConn, e echo, data []byte) error {
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		msg, err := icmp.ParseMessage(e.protocol, buf[:n])
		if err != nil || msg.Type != e.reply {
			continue
		}
		if body, ok := msg.Body.(*icmp.Echo); ok && bytes.Equal(body.Data, data) {
			return nil
		}
	}
}
