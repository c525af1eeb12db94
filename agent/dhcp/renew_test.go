package dhcp_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	client "github.com/berth-net/berth/plugins/dhcp"
)

// family is what the tests of a lease's life have for one address family.
type family struct {
	ipam          string // keys beside type
	give          func(*fake) *string
	first, second string // addresses
	length        string
	renew, rebind string // what the fake server calls them
	release       string
	afresh        string // how a client without a lease begins
}

var families = map[string]family{
	"IPv4": {
		give:  func(f *fake) *string { return &f.give4 },
		first: "192.0.2.50", second: "192.0.2.51", length: "/24",
		renew: "RENEWING", rebind: "REBINDING", release: "RELEASE", afresh: "DISCOVER",
	},
	"IPv6": {
		ipam: `,"ipv4":false,"ipv6":true`, give: func(f *fake) *string { return &f.give6 },
		first: "2001:db8::50", second: "2001:db8::51", length: "/128",
		renew: "RENEW", rebind: "REBIND", release: "RELEASE", afresh: "SOLICIT",
	},
}

// leased is a container with the family's first address from the fake server.
type leased struct {
	*segment
	family
	fake *fake
	c    *nettest.Container
}

func newLeased(t *testing.T, f family) *leased {
	t.Helper()
	l := &leased{segment: newWire(t), family: f}
	l.fake = l.startFake()
	l.startAgent()
	l.fake.lead(func(s *fake) { *f.give(s) = f.first })
	l.c = l.host.NewContainer("c1")
	l.device(l.c)
	r, err := client.New().Add(t.Context(), l.request(l.c, f.ipam))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.IPs[0].Address.String(); got != f.first+f.length {
		t.Fatalf("address %s, want %s", got, f.first)
	}
	l.c.Run("ip", "address", "add", f.first+f.length, "dev", "eth0", "nodad")
	return l
}

// comes waits until the server has got one more message of a kind.
func (l *leased) comes(kind string) {
	l.Helper()
	before := l.fake.count(kind)
	nettest.Eventually(l, "the server gets "+kind, func() error {
		if l.fake.count(kind) == before {
			return fmt.Errorf("it has not come again")
		}
		return nil
	})
}

// has waits until the device has exactly one of the two addresses, or none.
func (l *leased) has(want string) {
	l.Helper()
	nettest.Eventually(l, "the container has address "+want, func() error {
		text := l.c.Run("ip", "-o", "address", "show", "dev", "eth0")
		for _, a := range []string{l.first, l.second} {
			if strings.Contains(text, " "+a+"/") != (a == want) {
				return errors.New(text)
			}
		}
		return nil
	})
}

// A lease's whole life, by RFC 2131 section 4.4.5 and RFC 8415 section 18.2.
func TestALeaseIsRenewedReboundLostAndRegained(t *testing.T) {
	t.Parallel()
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLeased(t, f)
			l.comes(f.renew)
			l.fake.lead(func(s *fake) { s.deaf = true })
			l.comes(f.rebind)
			l.has(f.first)
			l.fake.lead(func(s *fake) { *f.give(s) = "" })
			l.has("")
			l.told(&l.problems, "lost "+f.first)
			l.told(&l.moves, "lan/c1/eth0 "+f.first+f.length+" invalid Prefix")
			if err := client.New().Check(t.Context(), l.request(l.c, f.ipam)); err == nil {
				t.Error("CHECK succeeds without a lease")
			}
			l.fake.lead(func(s *fake) { *f.give(s) = f.second })
			l.has(f.second)
			l.told(&l.moves, "lan/c1/eth0 invalid Prefix "+f.second+f.length)
			if err := client.New().Check(t.Context(), l.request(l.c, f.ipam)); err != nil {
				t.Errorf("CHECK with the new lease: %v", err)
			}
			if out := l.c.Run("ip", "route"); name == "IPv4" && !strings.Contains(out, "default via 192.0.2.1") {
				t.Errorf("the routes have not come again:\n%s", out)
			}
		})
	}
}

func TestARefusedAddressIsTakenAwayAtOnce(t *testing.T) {
	t.Parallel()
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLeased(t, f)
			l.fake.lead(func(s *fake) { s.refuse, *f.give(s) = true, f.second })
			l.has(f.second)
			l.told(&l.problems, "lost "+f.first+f.length+": DHCPv"+name[3:]+": the server refuses the address")
			if n := l.fake.count(f.rebind); n != 0 {
				t.Errorf("%d times %s after a refusal", n, f.rebind)
			}
		})
	}
}

func TestOptionsAreSentAndAskedFor(t *testing.T) {
	t.Parallel()
	f := families["IPv4"]
	f.ipam = `,"priority":7,"provide":[{"option":"host-name","value":"web"},{"option":"60","fromArg":"CLASS"}],"request":[{"option":"119"},{"option":"42"}]`
	s := newWire(t)
	server := s.startFake()
	s.startAgent()
	server.lead(func(s *fake) { s.give4 = f.first })
	c := s.host.NewContainer("c1")
	s.device(c)
	req := s.request(c, f.ipam)
	req.Args.Raw = map[string]string{"CLASS": "berth"}
	r, err := client.New().Add(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var m *dhcpv4.DHCPv4
	server.lead(func(s *fake) { m = s.last4 })
	if m.HostName() != "web" || m.ClassIdentifier() != "berth" || !m.IsOptionRequested(dhcpv4.OptionDNSDomainSearchList) || !m.IsOptionRequested(dhcpv4.OptionNTPServers) {
		t.Errorf("the server was sent\n%s", m.Summary())
	}
	if len(r.Routes) != 1 || r.Routes[0].Priority != 7 {
		t.Errorf("routes %+v, want one of priority 7", r.Routes)
	}
}

// Nobody answers: what ADD says comes before its caller gives up.
func TestASilentSegmentIsToldInTime(t *testing.T) {
	t.Parallel()
	s := newWire(t)
	s.startAgent()
	c := s.host.NewContainer("c1")
	s.device(c)
	begin := time.Now()
	_, err := client.New().Add(t.Context(), s.request(c, ""))
	var coded *plugins.Error
	if !errors.As(err, &coded) || coded.Code != plugins.CodeTryAgain || time.Since(begin) > 20*time.Second {
		t.Errorf("after %s: %v, want code 11 within 12 s", time.Since(begin), err)
	}
	if n := len(s.records()); n != 0 {
		t.Errorf("%d records are left", n)
	}
}
