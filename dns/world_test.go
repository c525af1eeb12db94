package dns_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/state"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// world is a host with a resolver, whose upstream is at 192.0.2.53.
type world struct {
	*testing.T
	host       *nettest.Host
	store      *state.Store
	resolvConf string
	options    dns.Options
	made       int // endpoints
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, host: nettest.NewHost(t, "host"), store: state.ForBoot(t.TempDir(), "boot")}
	w.resolvConf = filepath.Join(t.TempDir(), "resolv.conf")
	w.writeResolvConf("nameserver 192.0.2.53\nsearch corp.example\n")
	w.host.Run("ip", "address", "add", "192.0.2.53/32", "dev", "lo")
	w.options = dns.Options{Store: w.store, ResolvConf: w.resolvConf, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Dial: w.host.Dial}
	return w
}

func (w *world) writeResolvConf(text string) {
	w.Helper()
	if err := os.WriteFile(w.resolvConf, []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
}

// container is a namespace whose resolver listens.
type container struct {
	*nettest.Host
	w    *world
	path string
	ns   *netns.Handle
	*dns.Listener
}

// bare is a namespace without a resolver.
func (w *world) bare(name string) *container {
	w.Helper()
	c := &container{Host: nettest.NewHost(w.T, name), w: w}
	c.path, _ = c.Namespaces()
	var err error
	if c.ns, err = netns.Open(c.path); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.ns.Close() })
	return c
}

func (w *world) container(name string) *container {
	w.Helper()
	c := w.bare(name)
	c.listen(dns.New(w.options), dns.Client{NetNS: c.ns})
	return c
}

func (c *container) listen(r *dns.Resolver, client dns.Client) {
	c.w.Helper()
	l, err := r.Listen(client, dns.Address, dns.Alone)
	if err != nil {
		c.w.Fatal(err)
	}
	c.Listener = l
	c.w.Cleanup(func() { l.Close() })
}

// join records an attachment of the container; change it with edit.
func (c *container) join(network, address string, edit ...func(*endpoint.Record)) endpoint.Key {
	c.w.Helper()
	id, err := c.ns.ID()
	if err != nil {
		c.w.Fatal(err)
	}
	c.w.made++
	r := &endpoint.Record{
		Key:    endpoint.Key{Network: network, ContainerID: fmt.Sprintf("%x", c.Name) + strings.Repeat("0", 20), IfName: "eth0"},
		Driver: "bridge", Phase: endpoint.Ready, Name: c.Name, NetNS: c.path, NetNSID: id,
		Created: time.Unix(int64(c.w.made), 0), Config: []byte(`{"names":true}`),
	}
	for text := range strings.FieldsSeq(address) {
		r.Addresses = append(r.Addresses, netip.MustParsePrefix(text))
	}
	for _, e := range edit {
		e(r)
	}
	c.w.update(func(tx *state.Tx) error { return endpoint.Put(tx, r) })
	return r.Key
}

func (w *world) leave(k endpoint.Key) {
	w.Helper()
	w.update(func(tx *state.Tx) error { return endpoint.Delete(tx, k) })
}

func (w *world) update(do func(*state.Tx) error) {
	w.Helper()
	if err := w.store.Update(do); err != nil {
		w.Fatal(err)
	}
}

func internal(r *endpoint.Record) { r.Config = []byte(`{"names":true,"internal":true}`) }

func aliases(names ...string) func(*endpoint.Record) {
	return func(r *endpoint.Record) { r.Aliases = names }
}

// exchange asks the container's resolver.
func (c *container) exchange(network string, m *wire.Msg) (*wire.Msg, error) {
	conn, err := c.Dial(c.w.context(), network, "127.0.0.11:53")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, _, err := (&wire.Client{Timeout: 6 * time.Second}).ExchangeWithConn(m, &wire.Conn{Conn: conn, UDPSize: 4096})
	return answer, err
}

func query(name string, kind uint16) *wire.Msg {
	return new(wire.Msg).SetQuestion(wire.Fqdn(name), kind)
}

// ask is the answer as text: its code, and the data of its records in order.
func (c *container) ask(name string, kind uint16) string {
	c.w.Helper()
	answer, err := c.exchange("udp", query(name, kind))
	if err != nil {
		c.w.Fatalf("%s asks for %s: %v", c.Name, name, err)
	}
	return textOf(answer)
}

func textOf(m *wire.Msg) string {
	lines := []string{}
	for _, rr := range m.Answer {
		lines = append(lines, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(lines)
	return strings.Join(append([]string{wire.RcodeToString[m.Rcode]}, lines...), " ")
}

func (c *container) expect(name string, kind uint16, want string) {
	c.w.Helper()
	if got := c.ask(name, kind); got != want {
		c.w.Errorf("%s asks for %s %s: %q, want %q", c.Name, name, wire.TypeToString[kind], got, want)
	}
}

// upstream is a nameserver of the test's at an address of a host.
type upstream struct {
	answer func(*wire.Msg) *wire.Msg // nil is silence

	mu    sync.Mutex
	asked []string
}

// serve starts a nameserver that has one answer for everything.
func serve(h *nettest.Host, t *testing.T, address string, answer func(*wire.Msg) *wire.Msg) *upstream {
	t.Helper()
	u := &upstream{answer: answer}
	for _, s := range []*wire.Server{
		{PacketConn: h.ListenPacket("udp", address), Handler: u},
		{Listener: h.Listen("tcp", address), Handler: u},
	} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
	return u
}

func (u *upstream) ServeDNS(w wire.ResponseWriter, m *wire.Msg) {
	u.mu.Lock()
	u.asked = append(u.asked, m.Question[0].Name)
	u.mu.Unlock()
	if answer := u.answer(m); answer != nil {
		_ = w.WriteMsg(answer)
	}
}

func (u *upstream) questions() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

// always answers every A question with an address, as an upstream with a
// wildcard does.
func always(address string) func(*wire.Msg) *wire.Msg {
	return func(m *wire.Msg) *wire.Msg {
		answer := new(wire.Msg).SetReply(m)
		if m.Question[0].Qtype == wire.TypeA {
			answer.Answer = []wire.RR{&wire.A{Hdr: wire.RR_Header{Name: m.Question[0].Name, Rrtype: wire.TypeA, Class: 1, Ttl: 60}, A: net.ParseIP(address)}}
		}
		return answer
	}
}

func failing(rcode int) func(*wire.Msg) *wire.Msg {
	return func(m *wire.Msg) *wire.Msg { return new(wire.Msg).SetRcode(m, rcode) }
}

func silent(*wire.Msg) *wire.Msg { return nil }

func (w *world) context() context.Context { return w.Context() }
