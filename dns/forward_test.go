package dns_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// CVE-2024-29018: a container that is on internal networks only, or on none,
// reaches nobody by way of its questions. Not a packet leaves the host.
func TestNothingLeavesFromInternalNetworks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	outside := nettest.NewHost(t, "outside")
	nettest.Link(w.host, "eth0", []string{"203.0.113.1/24"}, outside, "eth0", []string{"203.0.113.53/24"})
	w.writeResolvConf("nameserver 203.0.113.53\nsearch corp.example\n")
	up := serve(outside, t, "203.0.113.53:53", always("198.51.100.1"))
	sniffer := w.host.Sniff("eth0")
	inside, none, both := w.container("inside"), w.container("none"), w.container("both")
	inside.join("back", "10.2.0.2/24", internal)
	none.join("nothing", "", func(r *endpoint.Record) { r.Driver = "none" })
	both.join("back", "10.2.0.3/24", internal)
	for _, c := range []*container{inside, none} {
		for _, name := range []string{"secret.attacker.example", "x.corp.example", "attacker", "1.113.0.203.in-addr.arpa"} {
			for _, kind := range []uint16{wire.TypeA, wire.TypeTXT, wire.TypeNS} {
				c.expect(name, kind, "NXDOMAIN")
			}
		}
		if answer, err := c.exchange("tcp", query("secret.attacker.example", wire.TypeA)); err != nil || textOf(answer) != "NXDOMAIN" {
			t.Errorf("%s by TCP: %v, %v", c.Name, answer, err)
		}
	}
	inside.expect("both", wire.TypeA, "NOERROR 10.2.0.3")
	for _, f := range sniffer.Frames() {
		if _, _, protocol, _ := f.IP(); protocol == 6 || protocol == 17 {
			t.Errorf("left the host: %s", f)
		}
	}
	if asked := up.questions(); len(asked) > 0 {
		t.Errorf("the upstream was asked for %q", asked)
	}
	k := both.join("front", "10.1.0.3/24", func(r *endpoint.Record) { r.IfName = "eth1" })
	both.expect("www.example", wire.TypeA, "NOERROR 198.51.100.1")
	w.leave(k)
	both.expect("www.example", wire.TypeA, "NXDOMAIN")
}

// A nameserver that was set for a container, or by its network, is asked
// from inside the container: here nobody else could reach it.
func TestNameserversOfTheContainerAreAskedFromInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up := serve(w.host, t, "192.0.2.53:53", always("198.51.100.1"))
	app := w.bare("app")
	server := nettest.NewHost(t, "server")
	nettest.Link(app.Host, "eth0", []string{"10.9.0.2/24"}, server, "eth0", []string{"10.9.0.53/24"})
	own := serve(server, t, "10.9.0.53:53", always("10.9.9.9"))
	app.join("back", "10.2.0.2/24", internal, func(r *endpoint.Record) {
		r.Result = &plugins.Result{DNS: plugins.DNS{Nameservers: []string{"127.0.0.11", "10.9.0.53"}}}
	})
	app.listen(dns.New(w.options), dns.Client{NetNS: app.ns})
	app.expect("www.example", wire.TypeA, "NOERROR 10.9.9.9")
	if answer, err := app.exchange("tcp", query("www.example", wire.TypeA)); err != nil || textOf(answer) != "NOERROR 10.9.9.9" {
		t.Errorf("by TCP: %v, %v", answer, err)
	}
	if n := len(up.questions()); n > 0 || len(own.questions()) != 2 {
		t.Errorf("the host's upstream was asked %d times, the container's %q", n, own.questions())
	}
	// What is set for the container wins over what its networks say.
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
	app.listen(dns.New(w.options), dns.Client{NetNS: app.ns, DNS: plugins.DNS{Nameservers: []string{"10.9.0.99"}}})
	app.Run("ip", "address", "add", "10.9.0.99/32", "dev", "lo")
	third := serve(app.Host, t, "10.9.0.99:53", always("10.9.9.10"))
	app.expect("www.example", wire.TypeA, "NOERROR 10.9.9.10")
	if len(third.questions()) != 1 {
		t.Errorf("the container's own nameserver was asked %q", third.questions())
	}
}

// L#2374: a dead or failing first nameserver costs a fraction of a second
// once, and then nothing.
func TestUpstreamsThatFail(t *testing.T) {
	t.Parallel()
	for what, first := range map[string]func(*wire.Msg) *wire.Msg{
		"refuses the port": nil, // nobody is there
		"is silent":        silent,
		"SERVFAIL":         failing(wire.RcodeServerFailure),
		"REFUSED":          failing(wire.RcodeRefused),
		"answers another question": func(m *wire.Msg) *wire.Msg {
			answer := always("198.51.100.66")(m)
			answer.Question[0].Name = "other.example."
			return answer
		},
		"answers under another id": func(m *wire.Msg) *wire.Msg {
			answer := always("198.51.100.66")(m)
			answer.Id++
			return answer
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.host.Run("ip", "address", "add", "192.0.2.54/32", "dev", "lo")
			w.writeResolvConf("nameserver 192.0.2.53\nnameserver 192.0.2.54\n")
			if first != nil {
				serve(w.host, t, "192.0.2.53:53", first)
			}
			serve(w.host, t, "192.0.2.54:53", always("198.51.100.2"))
			app := w.container("app")
			app.join("front", "10.1.0.2/24")
			took := func() time.Duration {
				begin := time.Now()
				app.expect("www.example", wire.TypeA, "NOERROR 198.51.100.2")
				return time.Since(begin)
			}
			if first := took(); first > 3*time.Second {
				t.Errorf("the first question took %s", first)
			}
			if next := min(took(), took(), took(), took()); next > 300*time.Millisecond {
				t.Errorf("the quickest question after it took %s", next)
			}
		})
	}
}

func TestWithoutAGoodUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.container("app")
	app.join("front", "10.1.0.2/24")
	app.expect("www.example", wire.TypeA, "SERVFAIL") // nobody there
	w.writeResolvConf("nameserver 127.0.0.11\nnameserver nonsense\n")
	app.expect("www.example", wire.TypeA, "SERVFAIL") // AD#415, NV#855: we are no upstream of our own
	serve(w.host, t, "192.0.2.53:53", failing(wire.RcodeRefused))
	w.writeResolvConf("nameserver 192.0.2.53\n")
	app.expect("www.example", wire.TypeA, "REFUSED") // a bad answer is better than none
	app.expect("app", wire.TypeA, "NOERROR 10.1.0.2")
}

func TestTheHostsFileIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.Run("ip", "address", "add", "2001:db8::53/128", "dev", "lo", "nodad")
	serve(w.host, t, "192.0.2.53:53", always("198.51.100.1"))
	serve(w.host, t, "[2001:db8::53]:53", always("198.51.100.2"))
	app := w.container("app")
	app.join("front", "10.1.0.2/24")
	for range 10 {
		w.writeResolvConf("nameserver 192.0.2.53\n")
		app.expect("www.example", wire.TypeA, "NOERROR 198.51.100.1")
		w.writeResolvConf("nameserver 2001:db8::53\n")
		app.expect("www.example", wire.TypeA, "NOERROR 198.51.100.2")
	}
	if err := os.Remove(w.resolvConf); err != nil {
		t.Fatal(err)
	}
	serve(w.host, t, "127.0.0.1:53", always("198.51.100.3"))
	app.expect("www.example", wire.TypeA, "NOERROR 198.51.100.3") // resolv.conf(5): the server on the host
}

// What an upstream answers reaches the client as it is; what is too long for
// UDP comes by TCP.
func TestForwardedAnswersAreWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serve(w.host, t, "192.0.2.53:53", func(m *wire.Msg) *wire.Msg {
		answer := new(wire.Msg).SetReply(m)
		for i := range 40 {
			answer.Answer = append(answer.Answer, &wire.TXT{Hdr: wire.RR_Header{Name: m.Question[0].Name, Rrtype: wire.TypeTXT, Class: 1},
				Txt: []string{fmt.Sprintf("%d %s", i, strings.Repeat("x", 90))}})
		}
		if opt := m.IsEdns0(); opt != nil {
			answer.Extra = append(answer.Extra, opt)
			answer.Truncate(int(opt.UDPSize()))
		} else {
			answer.Truncate(512)
		}
		return answer
	})
	app := w.container("app")
	app.join("front", "10.1.0.2/24")
	answer, err := app.exchange("udp", query("long.example", wire.TypeTXT))
	if err != nil || !answer.Truncated || len(answer.Answer) >= 40 {
		t.Errorf("by UDP: %v, %v", answer, err)
	}
	m := query("long.example", wire.TypeTXT).SetEdns0(4096, true)
	m.IsEdns0().Option = []wire.EDNS0{&wire.EDNS0_LOCAL{Code: wire.EDNS0LOCALSTART, Data: []byte("kept")}}
	answer, err = app.exchange("udp", m)
	if err != nil || answer.Truncated && len(answer.Answer) < 35 || answer.IsEdns0() == nil || len(answer.IsEdns0().Option) != 1 || !answer.IsEdns0().Do() {
		t.Errorf("by UDP with EDNS: %v, %v", answer, err)
	}
}

// A container's questions for a silent upstream have a limit, and beyond it
// names and other containers are served as before.
func TestForwardsHaveALimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up := serve(w.host, t, "192.0.2.53:53", silent)
	r := dns.New(w.options)
	app, web := w.bare("app"), w.bare("web")
	app.join("front", "10.1.0.2/24")
	web.join("front", "10.1.0.3/24")
	app.listen(r, dns.Client{NetNS: app.ns})
	web.listen(r, dns.Client{NetNS: web.ns})
	conn, err := app.Dial(w.context(), "udp", dns.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, _ := query("www.example", wire.TypeA).Pack()
	nettest.Eventually(t, "the limit is reached", func() error {
		for range 50 { // the socket's buffer does not take them all at once
			if _, err := conn.Write(raw); err != nil {
				return err
			}
		}
		if c := r.Counts(); c.Forwarded < 400 || c.Failed < 100 {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	app.expect("web", wire.TypeA, "NOERROR 10.1.0.3")
	web.expect("app", wire.TypeA, "NOERROR 10.1.0.2")
	if n := len(up.questions()); n > 4*256 {
		t.Errorf("the upstream was asked %d times", n)
	}
	begin := time.Now()
	if err := app.Close(); err != nil || time.Since(begin) > 3*time.Second {
		t.Errorf("close with questions open: %v, after %s", err, time.Since(begin))
	}
}

func TestEffectiveSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writeResolvConf("nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch corp.example\noptions edns0\n")
	app := w.bare("app")
	app.join("front", "10.1.0.2/24", func(r *endpoint.Record) {
		r.Result = &plugins.Result{DNS: plugins.DNS{Search: []string{"net.example"}}}
	})
	got, err := dns.New(w.options).Effective(dns.Client{NetNS: app.ns, DNS: plugins.DNS{Options: []string{"ndots:2"}}})
	want := "{[192.0.2.53]  [net.example] [ndots:2]}"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("effective: %v, %v, want %s", got, err, want)
	}
}
