package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	contract "github.com/berth-net/berth/plugins/dhcp"
)

// errRefused says that the server takes the address back (DHCPNAK).
var errRefused = errors.New("the server refuses the address")

// A try lasts so long, and so many are made: an Add ends within 12 s where
// no server answers.
const (
	tryFor = 3 * time.Second
	tries  = 4
)

// v4 is RFC 2131.
type v4 struct {
	where   *place
	options []dhcpv4.Modifier
}

// newV4 identifies itself to the server by the attachment (RFC 2132 section
// 9.14, type 0), so that a container that starts again gets its old address.
func newV4(w *place, ask contract.Ask) *v4 {
	id := "\x00" + ask.ContainerID + "/" + ask.Network + "/" + ask.IfName
	options := []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte(id)[:min(len(id), 255)])),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute,
			dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList),
	}
	if ask.Hostname != "" {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptHostName(ask.Hostname)))
	}
	return &v4{where: w, options: options}
}

// client opens the socket; without options it is one that needs no address.
func (p *v4) client(options ...nclient4.ClientOpt) (c *nclient4.Client, err error) {
	options = append(options, nclient4.WithTimeout(tryFor), nclient4.WithRetry(tries))
	err = p.where.in(func(ns *netns.Handle) error {
		return ns.Do(func() error {
			c, err = nclient4.New(p.where.ifname, options...)
			var gone *net.OpError
			if errors.As(err, &gone) && gone.Op == "route" {
				return fmt.Errorf("%w: %w", errGone, err)
			}
			return err
		})
	})
	return c, err
}

func (p *v4) acquire(ctx context.Context) (*binding, error) {
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	l, err := c.Request(ctx, p.options...)
	if err != nil {
		return nil, fmt.Errorf("DHCPv4: %w", err)
	}
	return bind4(l)
}

func (p *v4) renew(ctx context.Context, b *binding) (*binding, error) {
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	l, err := c.Renew(ctx, b.reply.(*nclient4.Lease), p.options...)
	var nak *nclient4.ErrNak
	if errors.As(err, &nak) {
		return nil, errRefused
	}
	if err != nil {
		return nil, fmt.Errorf("DHCPv4: %w", err)
	}
	return bind4(l)
}

// release is unicast and from the address itself (RFC 2131 section 4.4.4),
// which the device still has: a server's kernel takes no other packet.
func (p *v4) release(ctx context.Context, b *binding) error {
	own := &net.UDPAddr{IP: b.ip.Address.Addr().AsSlice(), Port: nclient4.ClientPort}
	c, err := p.client(nclient4.WithUnicast(own))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Release(b.reply.(*nclient4.Lease), p.options[0])
}

func bind4(l *nclient4.Lease) (*binding, error) {
	ack := l.ACK
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	ones, _ := ack.SubnetMask().Size()
	lasts := ack.IPAddressLeaseTime(0)
	if !ok || addr.IsUnspecified() || ones == 0 || lasts <= 0 {
		return nil, fmt.Errorf("DHCPv4: the server's answer lacks an address, a subnet mask or a lease time: %s", ack.Summary())
	}
	b := &binding{
		ip:     plugins.IP{Interface: -1, Address: netip.PrefixFrom(addr, ones)},
		renew:  l.CreationTime.Add(ack.IPAddressRenewalTime(lasts / 2)),
		expiry: l.CreationTime.Add(lasts),
		dns:    plugins.DNS{Domain: ack.DomainName()},
		reply:  l,
	}
	b.routes = routes4(ack)
	if gw := ack.Router(); len(gw) > 0 {
		b.ip.Gateway, _ = netip.AddrFromSlice(gw[0].To4())
	}
	for _, server := range ack.DNS() {
		b.dns.Nameservers = append(b.dns.Nameservers, server.String())
	}
	if search := ack.DomainSearch(); search != nil {
		b.dns.Search = search.Labels
	}
	return b, nil
}

// routes4 are the classless ones, and the router only where there are none
// (RFC 3442).
func routes4(ack *dhcpv4.DHCPv4) (routes []plugins.Route) {
	for _, r := range ack.ClasslessStaticRoute() {
		dst, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		ones, _ := r.Dest.Mask.Size()
		gw, _ := netip.AddrFromSlice(r.Router.To4())
		if ok {
			routes = append(routes, plugins.Route{Dst: netip.PrefixFrom(dst, ones), Gateway: gw})
		}
	}
	if gw := ack.Router(); len(routes) == 0 && len(gw) > 0 {
		addr, _ := netip.AddrFromSlice(gw[0].To4())
		routes = append(routes, plugins.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: addr})
	}
	return routes
}
