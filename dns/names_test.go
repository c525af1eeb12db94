package dns_test

import (
	"net/netip"
	"strings"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
)

// Every name of a container, of those that share a network with it, and each
// in both families. Names on the other network's aliases are not its own.
func TestNamesOfThoseOnTheSameNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up := serve(w.host, t, "192.0.2.53:53", always("198.51.100.1"))
	app, web, db := w.container("app"), w.container("web"), w.container("db")
	app.join("front", "10.1.0.2/24 fd01::2/64")
	key := web.join("front", "10.1.0.3/24 fd01::3/64", aliases("www", "Shop.Internal", "host-name"))
	web.join("back", "10.2.0.3/24", aliases("store"))
	db.join("back", "10.2.0.4/24")

	for _, name := range []string{"web", "WEB", "www", "shop.internal", "host-name", "web.front", "www.front", key.ContainerID, key.ContainerID[:12]} {
		app.expect(name, wire.TypeA, "NOERROR 10.1.0.3")
		app.expect(name, wire.TypeAAAA, "NOERROR fd01::3")
	}
	app.expect("app", wire.TypeA, "NOERROR 10.1.0.2")
	for _, name := range []string{"db", "store", "nobody", key.ContainerID[:11]} {
		app.expect(name, wire.TypeA, "NXDOMAIN")
	}
	web.expect("db", wire.TypeA, "NOERROR 10.2.0.4")
	web.expect("web", wire.TypeA, "NOERROR 10.1.0.3 10.2.0.3")
	web.expect("web.back", wire.TypeA, "NOERROR 10.2.0.3")
	db.expect("www", wire.TypeA, "NXDOMAIN")
	for _, kind := range []uint16{wire.TypeMX, wire.TypeHTTPS, wire.TypeSRV, wire.TypeTXT, wire.TypePTR} {
		app.expect("web", kind, "NOERROR") // NODATA, and nobody is asked
	}
	db.expect("web", wire.TypeAAAA, "NOERROR")
	app.expect("localhost", wire.TypeA, "NOERROR 127.0.0.1")
	if asked := up.questions(); len(asked) > 0 {
		t.Errorf("the upstream was asked for %q", asked)
	}
}

func TestReverse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up := serve(w.host, t, "192.0.2.53:53", failing(wire.RcodeNameError))
	app, web := w.container("app"), w.container("web")
	app.join("front", "10.1.0.2/24 fd01::2/64")
	web.join("front", "10.1.0.3/24 fd01::3/64")
	reverse := func(addr string) string { name, _ := wire.ReverseAddr(addr); return name }
	app.expect(reverse("10.1.0.3"), wire.TypePTR, "NOERROR web.front.")
	app.expect(reverse("fd01::3"), wire.TypePTR, "NOERROR web.front.")
	app.expect(reverse("10.1.0.99"), wire.TypePTR, "NXDOMAIN")
	if asked := up.questions(); len(asked) > 0 {
		t.Errorf("the upstream was asked for %q, an address of the network", asked)
	}
	app.expect(reverse("203.0.113.1"), wire.TypePTR, "NXDOMAIN")
	app.expect("1.10.in-addr.arpa", wire.TypePTR, "NXDOMAIN")
	if asked := up.questions(); len(asked) != 2 {
		t.Errorf("the upstream was asked for %q, want the two that are not ours", asked)
	}
}

// AD#389: sockets stay open whatever becomes of names; and names are there
// with the record, and gone with it or with the container.
func TestNamesComeAndGoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app, web := w.container("app"), w.bare("web")
	app.expect("web", wire.TypeA, "NXDOMAIN")
	app.join("front", "10.1.0.2/24")
	conn, err := app.Dial(w.context(), "tcp", "127.0.0.11:53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(want string) {
		t.Helper()
		answer, _, err := new(wire.Client).ExchangeWithConn(query("web", wire.TypeA), &wire.Conn{Conn: conn})
		if err != nil || textOf(answer) != want {
			t.Fatalf("on a connection that stays: %v, %v, want %s", answer, err, want)
		}
	}
	for range 20 {
		ask("NXDOMAIN")
		k := web.join("front", "10.1.0.3/24", func(r *endpoint.Record) { r.Phase = endpoint.Intent })
		ask("NXDOMAIN")
		web.join("front", "10.1.0.3/24")
		ask("NOERROR 10.1.0.3")
		w.leave(k)
	}
	web.join("front", "10.1.0.3/24", func(r *endpoint.Record) { r.NetNSID.Ino++ }) // another namespace is at its path by now
	ask("NXDOMAIN")
}

// NV#1133, NV#1214, PD#26198, NV#1256 and CVE-2025-8283: an upstream that
// answers for everything below the search list does not get at local names,
// with one label or more.
func TestLocalNamesWinUnderEverySearchSuffix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writeResolvConf("nameserver 192.0.2.53\nsearch corp.example eu.corp.example\noptions ndots:5\n")
	up := serve(w.host, t, "192.0.2.53:53", always("198.51.100.1"))
	app, web := w.container("app"), w.container("web")
	app.join("front", "10.1.0.2/24", func(r *endpoint.Record) {
		r.Result = &plugins.Result{DNS: plugins.DNS{Search: []string{"svc.example."}}}
	})
	web.join("front", "10.1.0.3/24", aliases("db.prod"))
	for _, suffix := range []string{"", ".corp.example", ".eu.corp.example", ".EU.Corp.Example", ".svc.example"} {
		app.expect("web"+suffix, wire.TypeA, "NOERROR 10.1.0.3")
		app.expect("db.prod"+suffix, wire.TypeA, "NOERROR 10.1.0.3")
		app.expect("web"+suffix, wire.TypeAAAA, "NOERROR")
	}
	if asked := up.questions(); len(asked) > 0 {
		t.Errorf("the upstream was asked for %q", asked)
	}
	app.expect("web.other.example", wire.TypeA, "NOERROR 198.51.100.1")
	app.expect("intranet.corp.example", wire.TypeA, "NOERROR 198.51.100.1")
	app.expect("intranet", wire.TypeA, "NXDOMAIN") // M#20335: bare names stay here
	app.expect("corp.example", wire.TypeA, "NOERROR 198.51.100.1")
}

func TestAnswersKeepTheLettersOfTheQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serve(w.host, t, "192.0.2.53:53", func(m *wire.Msg) *wire.Msg {
		answer := always("198.51.100.1")(m)
		answer.Question[0].Name = strings.ToLower(answer.Question[0].Name) // some upstreams do
		return answer
	})
	app := w.container("app")
	app.join("front", "10.1.0.2/24")
	for _, name := range []string{"aPp.", "wWw.ExAmPlE.oRg."} {
		m := query(name, wire.TypeA)
		answer, err := app.exchange("udp", m)
		if err != nil || answer.Id != m.Id || answer.Question[0].Name != name || len(answer.Answer) != 1 {
			t.Errorf("asked for %s: %v, %v", name, answer, err)
		}
	}
}

// A name that many share is answered in full, by TCP where it does not fit.
func TestAnswersThatDoNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.container("app")
	app.join("front", "10.1.0.2/24")
	var many []string
	for i := range 100 {
		many = append(many, netip.AddrFrom4([4]byte{10, 1, 0, byte(100 + i)}).String()+"/24")
	}
	app.join("front", strings.Join(many, " "), aliases("all"), func(r *endpoint.Record) { r.IfName = "eth1" })
	answer, err := app.exchange("udp", query("all", wire.TypeA))
	if err != nil || !answer.Truncated || len(answer.Answer) > 30 {
		t.Errorf("by UDP without EDNS: %d octets, truncated %v, %v", answer.Len(), answer.Truncated, err)
	}
	edns := query("all", wire.TypeA).SetEdns0(4096, false)
	if answer, err = app.exchange("udp", edns); err != nil || answer.Truncated || len(answer.Answer) != 100 || answer.IsEdns0() == nil {
		t.Errorf("by UDP with EDNS: %v, %v", answer, err)
	}
	if answer, err = app.exchange("tcp", query("all", wire.TypeA)); err != nil || answer.Truncated || len(answer.Answer) != 100 {
		t.Errorf("by TCP: %v, %v", answer, err)
	}
	first := map[string]bool{}
	for range 50 {
		answer, _ := app.exchange("tcp", query("all", wire.TypeA))
		first[answer.Answer[0].String()] = true
	}
	if len(first) < 5 {
		t.Errorf("the first of 100 addresses in 50 answers is one of only %d", len(first))
	}
}

func TestQuestionsThatAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.container("app")
	app.join("front", "10.1.0.2/24")
	for what, c := range map[string]struct {
		edit func(*wire.Msg)
		want int
	}{
		"two questions": {func(m *wire.Msg) { m.Question = append(m.Question, m.Question[0]) }, wire.RcodeFormatError},
		"no question":   {func(m *wire.Msg) { m.Question = nil }, wire.RcodeFormatError},
		"a notify":      {func(m *wire.Msg) { m.Opcode = wire.OpcodeNotify }, wire.RcodeNotImplemented},
		"an update":     {func(m *wire.Msg) { m.Opcode = wire.OpcodeUpdate }, wire.RcodeNotImplemented},
		"chaos":         {func(m *wire.Msg) { m.Question[0].Qclass = wire.ClassCHAOS }, wire.RcodeRefused},
	} {
		m := query("app", wire.TypeA)
		c.edit(m)
		if answer, err := app.exchange("udp", m); err != nil || answer.Rcode != c.want {
			t.Errorf("%s: %v, %v; want %s", what, answer, err, wire.RcodeToString[c.want])
		}
	}
}

// The host itself sees every network.
func TestTheHostsOwnListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web, db := w.bare("web"), w.bare("db")
	web.join("front", "10.1.0.3/24")
	db.join("back", "10.2.0.4/24", internal)
	at := netip.MustParseAddrPort("127.0.0.54:53")
	w.options.Own = []netip.AddrPort{at}
	w.writeResolvConf("nameserver 127.0.0.54\n") // of the host: must not be asked
	host := &container{Host: w.host, w: w, ns: w.host.NetNS()}
	r := dns.New(w.options)
	l, err := r.Listen(dns.Client{NetNS: host.ns, Host: true}, at, dns.Alone)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ask := func(name string) string {
		conn, err := w.host.Dial(w.context(), "udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answer, _, err := new(wire.Client).ExchangeWithConn(query(name, wire.TypeA), &wire.Conn{Conn: conn})
		if err != nil {
			t.Fatal(err)
		}
		return textOf(answer)
	}
	for name, want := range map[string]string{"web": "NOERROR 10.1.0.3", "db": "NOERROR 10.2.0.4", "www.example": "SERVFAIL"} {
		if got := ask(name); got != want {
			t.Errorf("the host asks for %s: %s, want %s", name, got, want)
		}
	}
	if n := r.Counts().Queries; n != 3 {
		t.Errorf("the resolver was asked %d times, want 3: it asks itself", n)
	}
}
