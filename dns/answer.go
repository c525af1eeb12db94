package dns

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strings"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/plugins/resolvconf"
)

// ttl of our own answers, in seconds: names follow endpoints at once, and to
// ask again costs microseconds.
const ttl = 0

// maxUDP is what we say that we take by UDP: what fits into a frame of any
// network (DNS flag day 2020).
const maxUDP = 1232

// question is a decoded query and who asks.
type question struct {
	wire.Question
	name   string // small letters, without the last dot
	client *Listener
	zone   *zone
}

// answer decides a question from records. nil: it is for the upstreams.
func (q *question) answer(ctx context.Context, query *wire.Msg) *wire.Msg {
	if query.Opcode != wire.OpcodeQuery {
		return reply(query, wire.RcodeNotImplemented)
	}
	if q.Qclass != wire.ClassINET {
		return reply(query, wire.RcodeRefused)
	}
	if addr, ok := parseReverse(q.name); ok {
		return q.reverse(ctx, query, addr)
	}
	if isLocalhost(q.name) {
		return q.addresses(query, []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()})
	}
	found := q.find(ctx, q.name)
	if len(found) == 0 {
		found = q.findShortened(ctx)
	}
	if len(found) > 0 {
		return q.addresses(query, addressesOf(found))
	}
	if !q.zone.forwards() || q.isBare() {
		return reply(query, wire.RcodeNameError)
	}
	return nil
}

// forwards tells whether a question may leave: a container that is on
// internal networks only must not reach the world by way of its questions
// either (CVE-2024-29018). Nameservers of its own it asks from where it is
// itself, so they are no way out.
func (z *zone) forwards() bool { return z.egress || len(z.dns.Nameservers) > 0 }

// candidates are what is left of the name without each suffix of the search
// list. The C library asks for web.corp.example before web, or instead
// of it, and an upstream may have an answer for everything below corp.example
// (CVE-2025-8283); but whoever wrote "web" meant the container.
func (q *question) candidates() (names []string) {
	search := append(resolvconf.Suffixes(q.zone.dns), resolvconf.Suffixes(q.client.resolver.host.read())...)
	for _, suffix := range search {
		suffix = strings.ToLower(strings.Trim(suffix, "."))
		if rest, ok := strings.CutSuffix(q.name, "."+suffix); ok && suffix != "" {
			names = append(names, rest)
		}
	}
	return names
}

func (q *question) findShortened(ctx context.Context) []*Endpoint {
	for _, name := range q.candidates() {
		if found := q.find(ctx, name); len(found) > 0 {
			return found
		}
	}
	return nil
}

func (q *question) find(ctx context.Context, name string) []*Endpoint {
	return append(q.zone.find(name), q.elsewhere(ctx, name)...)
}

// isBare tells a single label that asks for an address. No upstream has a
// right answer (RFC 7085): what people mean is a container that is not there.
// What a delegation consists of is asked for top-level domains, too.
func (q *question) isBare() bool {
	switch q.Qtype {
	case wire.TypeNS, wire.TypeSOA, wire.TypeDS, wire.TypeDNSKEY:
		return false
	}
	return q.name != "" && !strings.Contains(q.name, ".")
}

func addressesOf(found []*Endpoint) (list []netip.Addr) {
	for _, e := range found {
		for _, p := range e.Addresses {
			list = append(list, p.Addr())
		}
	}
	return list
}

// addresses answers for a name that exists. Of a type or family that it has
// not, the answer is empty: the name is known here, so nobody else is asked.
// The order is a new one each time, which spreads clients over those that
// share an alias.
func (q *question) addresses(query *wire.Msg, list []netip.Addr) *wire.Msg {
	m := reply(query, wire.RcodeSuccess)
	for _, i := range rand.Perm(len(list)) {
		addr := list[i]
		switch {
		case addr.Is4() && (q.Qtype == wire.TypeA || q.Qtype == wire.TypeANY):
			m.Answer = append(m.Answer, &wire.A{Hdr: q.header(wire.TypeA), A: addr.AsSlice()})
		case addr.Is6() && (q.Qtype == wire.TypeAAAA || q.Qtype == wire.TypeANY):
			m.Answer = append(m.Answer, &wire.AAAA{Hdr: q.header(wire.TypeAAAA), AAAA: addr.AsSlice()})
		}
	}
	return m
}

// header names the record as the question does, letter by letter: some
// clients check that (draft-vixie-dnsext-dns0x20).
func (q *question) header(kind uint16) wire.RR_Header {
	return wire.RR_Header{Name: q.Name, Rrtype: kind, Class: wire.ClassINET, Ttl: ttl}
}

// reverse answers for an address of a network of the client's; of others nil,
// where the client may ask the world.
func (q *question) reverse(ctx context.Context, query *wire.Msg, addr netip.Addr) *wire.Msg {
	found, local := q.zone.holder(addr)
	if found == nil {
		found = q.holderElsewhere(ctx, addr)
	}
	switch {
	case found != nil:
		m := reply(query, wire.RcodeSuccess)
		if q.Qtype == wire.TypePTR || q.Qtype == wire.TypeANY {
			m.Answer = append(m.Answer, &wire.PTR{Hdr: q.header(wire.TypePTR), Ptr: found.fullName()})
		}
		return m
	case local || !q.zone.forwards():
		return reply(query, wire.RcodeNameError)
	}
	return nil
}

// fullName is one that leads back, on every network of the asker's.
func (e *Endpoint) fullName() string {
	name := e.Name
	if name == "" {
		name = e.ContainerID[:min(shortID, len(e.ContainerID))]
	}
	return wire.Fqdn(name + "." + e.Network)
}

func reply(query *wire.Msg, rcode int) *wire.Msg {
	m := new(wire.Msg).SetRcode(query, rcode)
	m.Authoritative, m.RecursionAvailable, m.Compress = true, true, true
	if opt := query.IsEdns0(); opt != nil {
		m.SetEdns0(maxUDP, opt.Do())
	}
	return m
}

// isLocalhost: RFC 6761, section 6.3, forbids to ask others for it.
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// ask makes a question of a query that has exactly one.
func (l *Listener) ask(query *wire.Msg) (*question, error) {
	s, err := l.resolver.names.snapshot()
	if err != nil {
		return nil, err
	}
	q := &question{Question: query.Question[0], client: l}
	q.name = strings.ToLower(strings.TrimSuffix(q.Name, "."))
	z := s.zone(l.id)
	if l.isHost {
		z = s.everything()
	}
	q.zone = z
	if !resolvconf.Empty(l.dns) {
		own := *z
		own.dns = resolvconf.Over(l.dns, z.dns)
		q.zone = &own
	}
	return q, nil
}
