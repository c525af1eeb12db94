package dns_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/state"
)

// reset closes with RST instead of FIN.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// CVE-2026-35406: truncated questions by TCP, followed by a reset or by
// silence, leave nothing running, and others are served meanwhile.
// Not parallel: it looks at the processor time of the whole process.
func TestTruncatedQuestionsByTCP(t *testing.T) {
	w := newWorld(t)
	app := w.container("app")
	app.join("front", "10.1.0.2/24")
	other := w.container("other")
	other.join("front", "10.1.0.3/24")
	whole, _ := query("app", wire.TypeA).Pack()
	whole = append(binary.BigEndian.AppendUint16(nil, uint16(len(whole))), whole...)
	for i := range 200 {
		conn, err := app.Dial(w.context(), "tcp", dns.Address.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(whole[:rand.IntN(len(whole))]); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			reset(conn)
		} else {
			defer conn.Close()
		}
	}
	before, begin := cpuTime(t), time.Now()
	other.expect("app", wire.TypeA, "NOERROR 10.1.0.2")
	app.expect("other", wire.TypeA, "NOERROR 10.1.0.3")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		other.expect("app", wire.TypeA, "NOERROR 10.1.0.2")
		if now.Sub(begin) > 300*time.Millisecond {
			break
		}
	}
	if spent := cpuTime(t) - before; spent > time.Since(begin)/2 {
		t.Errorf("half-sent questions keep the processor busy: %s in %s", spent, time.Since(begin))
	}
}

// CVE-2024-8418: connections beyond the limit are closed, those within it
// end when they are silent, and then there is room again.
func TestConnectionsHaveALimitAndADeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.container("app")
	app.join("front", "10.1.0.2/24")
	var closed atomic.Int32
	var open []net.Conn
	for range 64 {
		conn, err := app.Dial(w.context(), "tcp", dns.Address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open = append(open, conn)
	}
	var all sync.WaitGroup
	for _, conn := range open {
		conn.SetReadDeadline(time.Now().Add(time.Second))
		all.Go(func() {
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				closed.Add(1)
			}
		})
	}
	all.Wait()
	if n := closed.Load(); n < 32 {
		t.Errorf("of 64 silent connections %d were closed at once, want 32", n)
	}
	app.expect("app", wire.TypeA, "NOERROR 10.1.0.2") // by UDP
	for _, conn := range open {
		conn.SetReadDeadline(time.Now().Add(8 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a silent connection stays open")
		}
	}
	nettest.Eventually(t, "there is room again", func() error {
		_, err := app.exchange("tcp", query("app", wire.TypeA))
		return err
	})
}

// Sockets keep a namespace alive, so Close must leave none, and what is open
// does not grow with questions.
func TestDescriptors(t *testing.T) {
	w := newWorld(t) // not parallel: it counts the process's descriptors
	serve(w.host, t, "192.0.2.53:53", always("198.51.100.1"))
	app := w.bare("app")
	app.join("front", "10.1.0.2/24")
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	var before int
	for i := range 3 {
		app.listen(dns.New(w.options), dns.Client{NetNS: app.ns})
		for range 20 {
			app.expect("app", wire.TypeA, "NOERROR 10.1.0.2")
			app.expect("www.example", wire.TypeA, "NOERROR 198.51.100.1")
			if _, err := app.exchange("tcp", query("www.example", wire.TypeA)); err != nil {
				t.Fatal(err)
			}
		}
		if err := app.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before = count()
			continue
		}
		nettest.Eventually(t, "no descriptor is left", func() error {
			if n := count(); n > before {
				return fmt.Errorf("%d descriptors, %d before", n, before)
			}
			return nil
		})
	}
	if conn, err := app.Dial(w.context(), "tcp", dns.Address.String()); err == nil {
		conn.Close()
		t.Error("the port is open after Close")
	}
}

func TestWhoIsFirstListens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := dns.New(w.options)
	app := w.bare("app")
	app.join("front", "10.1.0.2/24")
	first, err := r.Listen(dns.Client{NetNS: app.ns}, dns.Address, dns.Shared)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Listen(dns.Client{NetNS: app.ns}, dns.Address, dns.Shared)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Listen(dns.Client{NetNS: app.ns}, dns.Address, dns.Alone); !errors.Is(err, dns.ErrTaken) {
		t.Errorf("beside two others: %v, want %v", err, dns.ErrTaken)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	app.expect("app", wire.TypeA, "NOERROR 10.1.0.2") // the other goes on
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzQuestions sends anything by both ways; whatever comes back is well
// formed, bears the question's id, and the next question is answered.
func FuzzQuestions(f *testing.F) {
	whole, _ := query("app", wire.TypeA).Pack()
	f.Add(whole)
	f.Add(whole[:12])
	f.Add(append(whole[:len(whole)-5:len(whole)-5], 0xc0, 0x0c, 0, 1, 0, 1)) // a name that points to itself
	f.Add([]byte{})
	for _, m := range []*wire.Msg{query("2.0.1.10.in-addr.arpa", wire.TypePTR), query("x.example", wire.TypeANY).SetEdns0(0, true)} {
		raw, _ := m.Pack()
		f.Add(raw)
	}
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrClosedPipe }
	r := dns.New(dns.Options{Store: state.ForBoot("/nonexistent", "boot"), ResolvConf: "/dev/null", Dial: refuse})
	app := &dns.Endpoint{Key: endpoint.Key{Network: "front", ContainerID: "c1"}, Name: "app", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, network := range []string{"udp", "tcp"} {
			answer := r.Respond(raw, network, app)
			if answer == nil {
				continue
			}
			if err := new(wire.Msg).Unpack(answer); err != nil || answer[0] != raw[0] || answer[1] != raw[1] {
				t.Errorf("answer to %x by %s: %x, %v", raw, network, answer, err)
			}
		}
	})
}
