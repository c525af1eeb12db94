package dhcp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	contract "github.com/berth-net/berth/plugins/dhcp"
)

// v6 is RFC 8415: one address of an IA_NA. Routers are no part of DHCPv6, and
// containers believe no router advertisements: routes are the configuration's.
type v6 struct {
	where *place
	iaid  [4]byte
}

func newV6(w *place, ask contract.Ask) *v6 {
	sum := sha256.Sum256([]byte(ask.Network + "\x00" + ask.ContainerID + "\x00" + ask.IfName))
	return &v6{where: w, iaid: [4]byte(sum[:4])}
}

// client opens the socket on the device's link-local address, which the
// device gets here: the drivers leave IPv6 off until there is an address. It
// comes from the device's own MAC, so it is used undetected (RFC 4862 5.4).
func (p *v6) client() (c *nclient6.Client, err error) {
	if err := p.where.there(); err != nil {
		return nil, err
	}
	if err := p.where.in(func(ns *netns.Handle) error { return ns.Do(p.enable) }); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(settle); ; {
		c, err = p.open()
		if err == nil || errors.Is(err, errGone) || time.Now().After(deadline) {
			return c, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// enable runs in the container's namespace.
func (p *v6) enable() error {
	conf := "ipv6/conf/" + p.where.ifname
	return errors.Join(
		netdev.WriteSysctl(conf+"/accept_ra", "0"), netdev.WriteSysctl(conf+"/accept_dad", "0"), netdev.WriteSysctl(conf+"/disable_ipv6", "0"))
}

// settle bounds the wait for the link-local address, which the kernel makes
// and takes into use in the background.
const settle = 3 * time.Second

func (p *v6) open() (c *nclient6.Client, err error) {
	err = p.where.in(func(ns *netns.Handle) error {
		return ns.Do(func() error {
			conn, err := listen6(p.where.ifname)
			if err != nil {
				return err
			}
			c, err = nclient6.NewWithConn(conn, p.where.mac, nclient6.WithTimeout(tryFor), nclient6.WithRetry(tries))
			return err
		})
	})
	return c, err
}

func (p *v6) acquire(ctx context.Context) (*binding, error) {
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply, err := c.RapidSolicit(ctx,
		dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: p.where.mac}), dhcpv6.WithIAID(p.iaid))
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	return p.bind(reply, time.Now())
}

// extend is Renew, and Rebind where every server is asked (RFC 8415 sections
// 18.2.4 and 18.2.5).
func (p *v6) extend(ctx context.Context, b *binding, everyServer bool) (*binding, error) {
	kind := dhcpv6.MessageTypeRenew
	if everyServer {
		kind = dhcpv6.MessageTypeRebind
	}
	reply, err := p.exchange(ctx, kind, b)
	if err != nil {
		return nil, err
	}
	return p.bind(reply, time.Now())
}

func (p *v6) release(ctx context.Context, b *binding) error {
	ctx, cancel := context.WithTimeout(ctx, releaseWithin)
	defer cancel()
	_, err := p.exchange(ctx, dhcpv6.MessageTypeRelease, b)
	return err
}

// releaseWithin bounds the wait for the answer to a Release, which section
// 18.2.7 has a client send again: a container's end waits for it.
const releaseWithin = 4 * time.Second

// exchange sends what the server gave and waits for the reply. A Rebind names
// no server (section 16.7).
func (p *v6) exchange(ctx context.Context, kind dhcpv6.MessageType, b *binding) (*dhcpv6.Message, error) {
	given, err := dhcpv6.MessageFromBytes(b.message)
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	ask, err := dhcpv6.NewMessage(dhcpv6.WithClientID(given.Options.ClientID()))
	if err != nil {
		return nil, err
	}
	ask.MessageType = kind
	if kind != dhcpv6.MessageTypeRebind {
		ask.AddOption(dhcpv6.OptServerID(given.Options.ServerID()))
	}
	ask.AddOption(dhcpv6.OptElapsedTime(0))
	ask.AddOption(given.Options.OneIANA())
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply, err := c.SendAndRead(ctx, c.RemoteAddr(), ask, nclient6.IsMessageType(dhcpv6.MessageTypeReply))
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	return reply, nil
}

func (p *v6) read(message []byte, granted time.Time) (*binding, error) {
	reply, err := dhcpv6.MessageFromBytes(message)
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	return p.bind(reply, granted)
}

func (p *v6) bind(reply *dhcpv6.Message, granted time.Time) (*binding, error) {
	ia := reply.Options.OneIANA()
	if ia == nil || ia.Options.OneAddress() == nil || reply.Options.ServerID() == nil || reply.Options.ClientID() == nil {
		return nil, fmt.Errorf("DHCPv6: %w: %s", errRefused, reply.Summary())
	}
	given := ia.Options.OneAddress()
	addr, ok := netip.AddrFromSlice(given.IPv6Addr)
	if !ok || given.ValidLifetime == 0 {
		return nil, fmt.Errorf("DHCPv6: %w: %s", errRefused, reply.Summary())
	}
	b := &binding{
		ip:      plugins.IP{Interface: -1, Address: netip.PrefixFrom(addr, addr.BitLen())},
		message: reply.ToBytes(),
	}
	// Section 21.4: a zero is left to the client, with these fractions.
	soon := given.PreferredLifetime
	if soon == 0 {
		soon = given.ValidLifetime
	}
	b.clock(granted, ia.T1, ia.T2, given.ValidLifetime, soon/2, soon/5*4)
	for _, server := range reply.Options.DNS() {
		b.dns.Nameservers = append(b.dns.Nameservers, server.String())
	}
	if search := reply.Options.DomainSearchList(); search != nil {
		b.dns.Search = search.Labels
	}
	return b, nil
}
