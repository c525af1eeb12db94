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
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	contract "github.com/berth-net/berth/plugins/dhcp"
)

// v4 is RFC 2131.
type v4 struct {
	where    *place
	identity dhcpv4.Modifier
	options  []dhcpv4.Modifier
}

// newV4 identifies itself to the server by the attachment (RFC 2132 section
// 9.14, type 0), so that a container that starts again gets its old address.
func newV4(w *place, ask contract.Ask) *v4 {
	id := "\x00" + ask.ContainerID + "/" + ask.Network + "/" + ask.IfName
	p := &v4{where: w, identity: dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte(id)[:min(len(id), 255)]))}
	codes := []dhcpv4.OptionCode{
		dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute,
		dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList,
	}
	for _, code := range ask.Request {
		codes = append(codes, dhcpv4.GenericOptionCode(code))
	}
	p.options = []dhcpv4.Modifier{
		p.identity, dhcpv4.WithRequestedOptions(codes...), dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
	}
	if ask.Hostname != "" {
		p.options = append(p.options, dhcpv4.WithOption(dhcpv4.OptHostName(ask.Hostname)))
	}
	for code, value := range ask.Provide {
		p.options = append(p.options, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), []byte(value))))
	}
	return p
}

// raw is a client that needs no address, and speaks to every server.
func (p *v4) raw() (c *nclient4.Client, err error) {
	err = p.where.in(func(ns *netns.Handle) error {
		return ns.Do(func() error {
			c, err = nclient4.New(p.where.ifname, nclient4.WithTimeout(tryFor), nclient4.WithRetry(tries))
			var gone *net.OpError
			if errors.As(err, &gone) && gone.Op == "route" {
				return fmt.Errorf("%w: %w", errGone, err)
			}
			return err
		})
	})
	return c, err
}

// unicast is a socket with the binding's address, which the device has: from
// there one speaks to the binding's own server.
func (p *v4) unicast(b *binding) (conn net.PacketConn, err error) {
	config := net.ListenConfig{Control: p.where.bind}
	own := netip.AddrPortFrom(b.ip.Address.Addr(), nclient4.ClientPort)
	err = p.where.in(func(ns *netns.Handle) error {
		return ns.Do(func() error {
			conn, err = config.ListenPacket(context.Background(), "udp4", own.String())
			return err
		})
	})
	return conn, err
}

func (p *v4) acquire(ctx context.Context) (*binding, error) {
	c, err := p.raw()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	l, err := c.Request(ctx, p.options...)
	if err != nil {
		return nil, fmt.Errorf("DHCPv4: %w", err)
	}
	return p.bind(l.ACK, l.CreationTime)
}

// extend is DHCPREQUEST in the states RENEWING and REBINDING (RFC 2131
// section 4.3.2).
func (p *v4) extend(ctx context.Context, b *binding, everyServer bool) (*binding, error) {
	old, err := dhcpv4.FromBytes(b.message)
	if err != nil {
		return nil, fmt.Errorf("DHCPv4: %w", err)
	}
	ask, err := dhcpv4.NewRenewFromAck(old, p.options...)
	if err != nil {
		return nil, fmt.Errorf("DHCPv4: %w", err)
	}
	c, to, err := p.towards(b, old, everyServer)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	answer, err := c.SendAndRead(ctx, to, ask, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return nil, fmt.Errorf("DHCPv4: %w", err)
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return nil, fmt.Errorf("DHCPv4: %w: DHCPNAK %s", errRefused, answer.Message())
	}
	// Some servers leave out of a renewal what has not changed.
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionSubnetMask, dhcpv4.OptionServerIdentifier} {
		if !answer.Options.Has(code) {
			answer.UpdateOption(dhcpv4.OptGeneric(code, old.Options.Get(code)))
		}
	}
	return p.bind(answer, time.Now())
}

func (p *v4) towards(b *binding, ack *dhcpv4.DHCPv4, everyServer bool) (*nclient4.Client, *net.UDPAddr, error) {
	if everyServer {
		c, err := p.raw()
		return c, nclient4.DefaultServers, err
	}
	conn, err := p.unicast(b)
	if err != nil {
		return nil, nil, err
	}
	c, err := nclient4.NewWithConn(conn, p.where.mac, nclient4.WithTimeout(tryFor), nclient4.WithRetry(tries))
	return c, &net.UDPAddr{IP: ack.ServerIdentifier(), Port: nclient4.ServerPort}, err
}

// leaveWithin bounds the wait for the server's hardware address. The socket
// counts a packet as unsent while it waits for that, and who deletes the
// device meanwhile deletes the packet.
const leaveWithin = time.Second

// release is unicast and from the address itself (RFC 2131 section 4.4.4),
// which the device still has: a server's kernel takes no other packet.
func (p *v4) release(_ context.Context, b *binding) error {
	ack, err := dhcpv4.FromBytes(b.message)
	if err != nil {
		return err
	}
	goodbye, err := dhcpv4.NewReleaseFromACK(ack, p.identity)
	if err != nil {
		return err
	}
	conn, err := p.unicast(b)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.WriteTo(goodbye.ToBytes(), &net.UDPAddr{IP: ack.ServerIdentifier(), Port: nclient4.ServerPort}); err != nil {
		return err
	}
	return drain(conn, time.Now().Add(leaveWithin))
}

// drain waits until the socket's packets have left the host.
func drain(conn net.PacketConn, until time.Time) error {
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	for {
		var unsent int
		cerr := raw.Control(func(fd uintptr) { unsent, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err = errors.Join(cerr, err); err != nil || unsent == 0 {
			return err
		}
		if time.Now().After(until) {
			return errors.New("the server does not answer ARP")
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *v4) read(message []byte, granted time.Time) (*binding, error) {
	ack, err := dhcpv4.FromBytes(message)
	if err != nil {
		return nil, fmt.Errorf("DHCPv4: %w", err)
	}
	return p.bind(ack, granted)
}

func (p *v4) bind(ack *dhcpv4.DHCPv4, granted time.Time) (*binding, error) {
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	ones, _ := ack.SubnetMask().Size()
	whole := ack.IPAddressLeaseTime(0)
	if !ok || addr.IsUnspecified() || ones == 0 || whole <= 0 || ack.ServerIdentifier() == nil {
		return nil, fmt.Errorf("DHCPv4: the server's answer lacks an address, a subnet mask, a lease time or its identifier: %s", ack.Summary())
	}
	b := &binding{
		ip:      plugins.IP{Interface: -1, Address: netip.PrefixFrom(addr, ones)},
		dns:     plugins.DNS{Domain: ack.DomainName()},
		routes:  routes4(ack),
		message: ack.ToBytes(),
	}
	// Section 4.4.5 has the defaults.
	b.clock(granted, ack.IPAddressRenewalTime(0), ack.IPAddressRebindingTime(0), whole, whole/2, whole/8*7)
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
