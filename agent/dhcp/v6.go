package dhcp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
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
func (p *v6) client() (c *nclient6.Client, mac net.HardwareAddr, err error) {
	err = p.where.onLink(func(h *netdev.Handle, link netdev.Link) error {
		mac = link.Attrs().HardwareAddr
		conf := "ipv6/conf/" + p.where.ifname
		return errors.Join(h.SetSysctl(conf+"/accept_ra", "0"), h.SetSysctl(conf+"/accept_dad", "0"), h.SetSysctl(conf+"/disable_ipv6", "0"))
	})
	if err != nil {
		return nil, nil, err
	}
	for deadline := time.Now().Add(settle); ; {
		c, err = p.open()
		if err == nil || errors.Is(err, errGone) || time.Now().After(deadline) {
			return c, mac, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// settle bounds the wait for the link-local address, which the kernel makes
// and takes into use in the background.
const settle = 3 * time.Second

func (p *v6) open() (c *nclient6.Client, err error) {
	err = p.where.in(func(ns *netns.Handle) error {
		return ns.Do(func() error {
			c, err = nclient6.New(p.where.ifname, nclient6.WithTimeout(tryFor), nclient6.WithRetry(tries))
			return err
		})
	})
	return c, err
}

func (p *v6) acquire(ctx context.Context) (*binding, error) {
	c, mac, err := p.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply, err := c.RapidSolicit(ctx,
		dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac}), dhcpv6.WithIAID(p.iaid))
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	return bind6(reply)
}

func (p *v6) renew(ctx context.Context, b *binding) (*binding, error) {
	reply, err := p.exchange(ctx, dhcpv6.MessageTypeRenew, b)
	if err != nil {
		return nil, err
	}
	return bind6(reply)
}

func (p *v6) release(ctx context.Context, b *binding) error {
	_, err := p.exchange(ctx, dhcpv6.MessageTypeRelease, b)
	return err
}

// exchange sends what the server gave back to it (RFC 8415 sections 18.2.4
// and 18.2.7) and waits for the reply.
func (p *v6) exchange(ctx context.Context, kind dhcpv6.MessageType, b *binding) (*dhcpv6.Message, error) {
	c, _, err := p.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	given := b.reply.(*dhcpv6.Message)
	ask, err := dhcpv6.NewMessage(dhcpv6.WithClientID(given.Options.ClientID()), dhcpv6.WithServerID(given.Options.ServerID()))
	if err != nil {
		return nil, err
	}
	ask.MessageType = kind
	ask.AddOption(dhcpv6.OptElapsedTime(0))
	ask.AddOption(given.Options.OneIANA())
	reply, err := c.SendAndRead(ctx, c.RemoteAddr(), ask, nclient6.IsMessageType(dhcpv6.MessageTypeReply))
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	return reply, nil
}

func bind6(reply *dhcpv6.Message) (*binding, error) {
	ia := reply.Options.OneIANA()
	if ia == nil || ia.Options.OneAddress() == nil {
		return nil, fmt.Errorf("DHCPv6: %w: %s", errRefused, reply.Summary())
	}
	given := ia.Options.OneAddress()
	addr, ok := netip.AddrFromSlice(given.IPv6Addr)
	if !ok || given.ValidLifetime == 0 {
		return nil, fmt.Errorf("DHCPv6: %w: %s", errRefused, reply.Summary())
	}
	t1 := ia.T1
	if t1 == 0 { // left to the client (section 21.4)
		t1 = given.PreferredLifetime / 2
	}
	b := &binding{
		ip:    plugins.IP{Interface: -1, Address: netip.PrefixFrom(addr, addr.BitLen())},
		renew: time.Now().Add(max(t1, minRetry)), expiry: time.Now().Add(given.ValidLifetime),
		reply: reply,
	}
	for _, server := range reply.Options.DNS() {
		b.dns.Nameservers = append(b.dns.Nameservers, server.String())
	}
	if search := reply.Options.DomainSearchList(); search != nil {
		b.dns.Search = search.Labels
	}
	return b, nil
}
