package bridge_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// reach is who asks, where, and as whom the container sees it.
type reach struct {
	from    *nettest.Host
	host    string
	as      string // "" for anybody
	network string
}

func (w *world) vantages(c2 *nettest.Container, network string) []reach {
	four, six := network+"4", network+"6"
	return []reach{
		{w.lan, "192.0.2.1", "192.0.2.2", four}, {w.lan, "2001:db8::1", "2001:db8::2", six},
		{w.host, "192.0.2.1", "192.0.2.1", four}, {w.host, "2001:db8::1", "2001:db8::1", six},
		{w.host, "127.0.0.1", "", four},
		{c2.Host, "192.0.2.1", "", four}, {c2.Host, "2001:db8::1", "", six},
	}
}

// Every port of a published range leads to its own port of the container,
// over TCP and UDP, from everywhere.
func TestPublishedRangesCarryTraffic(t *testing.T) {
	t.Parallel()
	for _, backend := range backends(t) {
		for _, protocol := range []string{"tcp", "udp"} {
			t.Run(backend+"/"+protocol, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				conf := config(1, fmt.Sprintf(`"ipMasq":true,"hairpinMode":true,"firewallBackend":%q,`, backend))
				c1, c2 := w.host.NewContainer("c1"), w.host.NewContainer("c2")
				const first, inside, n = 9000, 7000, 4
				req := request(c1, "front", conf, plugins.PortMapping{HostPort: first, ContainerPort: inside, Count: n, Protocol: protocol})
				w.add(req)
				w.add(request(c2, "front", conf))
				for i := range n {
					for _, family := range []string{"4", "6"} {
						servePort(c1.Host, protocol+family, inside+i)
					}
				}
				for _, v := range w.vantages(c2, protocol) {
					for i := range n {
						w.answers(v, first+i, fmt.Sprint(inside+i))
					}
				}
				w.del(req)
				if a, err := w.lan.TryAsk(protocol, at("192.0.2.1", first)); err == nil {
					t.Errorf("after DEL %s answers", a)
				}
			})
		}
	}
}

// servePort answers as nettest's servers do, but with the port for a name.
func servePort(h *nettest.Host, network string, port int) {
	address := fmt.Sprintf(":%d", port)
	if strings.HasPrefix(network, "tcp") {
		l := h.Listen(network, address)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, port, c.RemoteAddr())
				c.Close()
			}
		}()
		return
	}
	pc := h.ListenPacket(network, address)
	go func() {
		buf := make([]byte, 16)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(fmt.Appendln(nil, port, from), from)
		}
	}()
}

func (w *world) answers(v reach, port int, name string) {
	w.Helper()
	got, err := v.from.TryAsk(v.network, at(v.host, port))
	switch {
	case err != nil:
		w.Errorf("%s asks %s %s: %v", v.from.Name, v.network, at(v.host, port), err)
	case got.Server != name:
		w.Errorf("%s asks %s %s: port %s answers, not %s", v.from.Name, v.network, at(v.host, port), got.Server, name)
	case v.as != "" && got.Client.Addr() != netip.MustParseAddr(v.as):
		w.Errorf("%s asks %s %s and is seen as %s, not %s", v.from.Name, v.network, at(v.host, port), got.Client, v.as)
	}
}

// What the host's kernel does with SCTP it does without an SCTP of its own:
// an INIT chunk (RFC 9260 section 3.3.2) to the published port comes to the
// container's, from its sender.
func TestPublishedSCTPReachesTheContainersPort(t *testing.T) {
	t.Parallel()
	for _, backend := range backends(t) {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.host.NewContainer("c1")
			w.add(request(c, "front", config(1, fmt.Sprintf(`"ipMasq":true,"firewallBackend":%q,`, backend)),
				plugins.PortMapping{HostPort: 9000, ContainerPort: 7000, Count: 3, Protocol: "sctp"}))
			seen := c.Sniff("eth0")
			nettest.Eventually(t, "the INIT chunk arrives", func() error {
				if err := w.lan.Do(func() error { return sendINIT([4]byte{192, 0, 2, 1}, 4711, 9001) }); err != nil {
					return err
				}
				return sctpFrom(seen.Frames(), "192.0.2.2", 7001)
			})
		})
	}
}

func sctpFrom(frames []nettest.Frame, from string, port uint16) error {
	var other []string
	for _, f := range frames {
		src, _, protocol, body := f.IP()
		if protocol != unix.IPPROTO_SCTP || len(body) < 4 {
			continue
		}
		if src.String() == from && uint16(body[2])<<8|uint16(body[3]) == port {
			return nil
		}
		other = append(other, fmt.Sprintf("%s % x", f, body[:4]))
	}
	return fmt.Errorf("no SCTP from %s to port %d, but: %s", from, port, strings.Join(other, ", "))
}
