package dhcp_test

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/server6"
)

// The leases of the fake server are those of a server in a great hurry.
const (
	fakeT1    = 1 * time.Second
	fakeT2    = 2 * time.Second
	fakeWhole = 4 * time.Second
)

// fake is a DHCP server of both families that a test leads by the nose.
type fake struct {
	mu     sync.Mutex
	give4  string // the address that it leases; empty: it is silent
	give6  string
	refuse bool // takes addresses back
	deaf   bool // hears what goes to every server only
	seen   map[string]int
	last4  *dhcpv4.DHCPv4 // the last message
}

// startFake listens on the server's end of the segment.
func (s *segment) startFake() *fake {
	s.Helper()
	f := &fake{seen: map[string]int{}}
	var four *server4.Server
	var six *server6.Server
	err := s.server.Do(func() (err error) {
		if four, err = server4.NewServer("eth0", &net.UDPAddr{Port: dhcpv4.ServerPort}, f.answer4); err != nil {
			return err
		}
		six, err = server6.NewServer("eth0", nil, f.answer6)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { four.Serve() })
	done.Go(func() { six.Serve() })
	s.Cleanup(func() {
		four.Close()
		six.Close()
		done.Wait()
	})
	return f
}

// lead changes what the server does.
func (f *fake) lead(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// count is how often a message has come: "RENEWING", "REBINDING" and the like.
func (f *fake) count(kind string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[kind]
}

// kind4 tells a request's state by RFC 2131 table 4: a client that renews has
// an address and speaks from it.
func kind4(peer net.Addr, m *dhcpv4.DHCPv4) string {
	if m.MessageType() != dhcpv4.MessageTypeRequest || m.ClientIPAddr.IsUnspecified() {
		return m.MessageType().String()
	}
	if peer.(*net.UDPAddr).IP.Equal(m.ClientIPAddr) {
		return "RENEWING"
	}
	return "REBINDING"
}

func (f *fake) answer4(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind := kind4(peer, m)
	f.last4 = m
	f.seen[kind]++
	answer := dhcpv4.MessageTypeAck
	switch {
	case f.give4 == "" || kind == "RELEASE" || f.deaf && kind == "RENEWING":
		return
	case f.refuse && (kind == "RENEWING" || kind == "REBINDING"):
		answer = dhcpv4.MessageTypeNak
	case kind == "DISCOVER":
		answer = dhcpv4.MessageTypeOffer
	}
	reply, err := dhcpv4.NewReplyFromRequest(m,
		dhcpv4.WithMessageType(answer),
		dhcpv4.WithYourIP(net.ParseIP(f.give4)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithRouter(net.IPv4(192, 0, 2, 1)),
		dhcpv4.WithServerIP(net.IPv4(192, 0, 2, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(fakeWhole)),
		dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(fakeT1)),
		dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(fakeT2)))
	if err != nil {
		return
	}
	if kind == "REBINDING" { // server4 sends to whom it heard: nobody
		peer = &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
	}
	conn.WriteTo(reply.ToBytes(), peer)
}

var fakeDUID = &dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}

func (f *fake) answer6(conn net.PacketConn, peer net.Addr, d dhcpv6.DHCPv6) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := d.(*dhcpv6.Message)
	if !ok {
		return
	}
	kind := m.MessageType
	f.seen[kind.String()]++
	if f.give6 == "" || f.deaf && kind == dhcpv6.MessageTypeRenew {
		return
	}
	valid := fakeWhole
	if f.refuse && (kind == dhcpv6.MessageTypeRenew || kind == dhcpv6.MessageTypeRebind) {
		valid = 0
	}
	addr := netip.MustParseAddr(f.give6).As16()
	given := &dhcpv6.OptIAAddress{IPv6Addr: addr[:], PreferredLifetime: valid, ValidLifetime: valid}
	ia := &dhcpv6.OptIANA{T1: fakeT1, T2: fakeT2, Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{given}}}
	if asked := m.Options.OneIANA(); asked != nil {
		ia.IaId = asked.IaId
	}
	reply, err := dhcpv6.NewReplyFromMessage(m, dhcpv6.WithServerID(fakeDUID), dhcpv6.WithOption(ia))
	if err != nil {
		return
	}
	conn.WriteTo(reply.ToBytes(), peer)
}
