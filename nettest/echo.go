package nettest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Answer is what a server of Serve says: who it is, and from which address
// the question reached it, which tells whether anything on the way has
// translated it.
type Answer struct {
	Server string
	Client netip.AddrPort
}

func (a Answer) String() string { return a.Server + " " + a.Client.String() }

func parseAnswer(text string) (Answer, error) {
	var a Answer
	var client string
	if _, err := fmt.Sscanf(text, "%s %s", &a.Server, &client); err != nil {
		return a, fmt.Errorf("parse answer %q: %w", text, err)
	}
	addr, err := netip.ParseAddrPort(client)
	if err != nil {
		return a, fmt.Errorf("parse answer %q: %w", text, err)
	}
	a.Client = addr
	return a, nil
}

// Serve answers every question to address with an Answer until the test ends.
// Network is tcp or udp, with 4 or 6 appended to be of one family only.
// It returns the address, whose port was chosen where 0 was asked for.
func (h *Host) Serve(network, address string) net.Addr {
	h.t.Helper()
	if network[:3] == "udp" {
		c := h.ListenPacket(network, address)
		go h.answerPackets(c)
		return c.LocalAddr()
	}
	l := h.Listen(network, address)
	go h.answerStreams(l)
	return l.Addr()
}

func (h *Host) answerStreams(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed: the test has ended
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(askTimeout))
			fmt.Fprintln(conn, h.answerTo(conn.RemoteAddr()))
		}()
	}
}

func (h *Host) answerPackets(c net.PacketConn) {
	buf := make([]byte, 1<<16)
	for {
		_, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// An ICMP error for an answer sent earlier arrives here too.
		if err == nil {
			c.WriteTo([]byte(h.answerTo(from).String()), from)
		}
	}
}

func (h *Host) answerTo(client net.Addr) Answer {
	addr, _ := netip.ParseAddrPort(client.String()) // the kernel's
	return Answer{h.Name, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}
}

// TryAsk asks the server at address, over tcp or udp, who it is and who asks.
func (h *Host) TryAsk(network, address string) (Answer, error) {
	ctx, cancel := context.WithTimeout(h.context(), askTimeout)
	defer cancel()
	conn, err := h.Dial(ctx, network, address)
	if err != nil {
		return Answer{}, fmt.Errorf("ask from %s: %w", h.Name, err)
	}
	defer conn.Close()
	return ask(ctx, conn, network)
}

func ask(ctx context.Context, conn net.Conn, network string) (Answer, error) {
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if network[:3] == "udp" {
		if _, err := conn.Write([]byte("who?")); err != nil {
			return Answer{}, err
		}
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	if err != nil {
		return Answer{}, err
	}
	return parseAnswer(string(buf[:n]))
}

// Ask is TryAsk, but no answer fails the test.
func (h *Host) Ask(network, address string) Answer {
	h.t.Helper()
	a, err := h.TryAsk(network, address)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}
