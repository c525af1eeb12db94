package firewall

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netdev/nlsock"
)

// The loop is how a packet that INPUT has let in gets to a container without
// being lost. A destination can be translated before the routing decision
// only, and INPUT is behind it. So a copy of the packet leaves by loopOut and
// comes in again by loopIn, the other end of the veth pair, which takes its
// connection tracking off it; there it is translated. What follows belongs to
// the connection that it has begun, and does not go around.
//
// A copy has lost the device that it came in by. So what comes from behind a
// bridge without a way out goes around a loop of its own, innerOut to innerIn,
// and from there into its own network only.
const (
	loopOut  = "berth-strict"
	loopIn   = "berth-again"
	innerOut = loopOut + "-in"
	innerIn  = loopIn + "-in"
)

// loop is one of them. The number is the priority that marks the packets to be
// copied, and the number of a routing table; the mark is that of a copy on its
// way.
type loop struct {
	out, in            string
	gateway4, gateway6 netip.Addr // behind out
	number, mark       uint32
}

var loops = []loop{
	{loopOut, loopIn, netip.MustParseAddr("169.254.98.102"), netip.MustParseAddr("fe80::6265"), loopNumber, 0x62650000},
	{innerOut, innerIn, netip.MustParseAddr("169.254.98.103"), netip.MustParseAddr("fe80::6266"), innerNumber, 0x62650001},
}

func (l *loop) gateway(is4 bool) netip.Addr {
	if is4 {
		return l.gateway4
	}
	return l.gateway6
}

const (
	loopNumber  = 0x62657274
	innerNumber = 0x62657275
)

// loopMTU lets datagrams pass whole that have been put together for INPUT.
const loopMTU = 65535

// Both ends have one MAC and no ARP, so neighbours need no question: whatever
// gateway a copy is sent to, it is for the other end. IPv6 wants a route to
// the gateway; IPv4 takes what is unknown for a neighbour, but drops what
// comes in by a device without an address unless rp_filter is off
// (__fib_validate_source, net/ipv4/fib_frontend.c).
var (
	loopMAC      = net.HardwareAddr{0x02, 'b', 'e', 'r', 't', 'h'}
	loopAddress4 = netip.MustParsePrefix("169.254.98.101/32")
)

// ensureLoop makes the first pair, or both, or finds them, and returns the
// indices of loopOut and innerOut; 0: there is none.
func ensureLoop(e *Endpoint, both bool) (devices [2]int, err error) {
	c, err := netdev.Dial()
	if err != nil {
		return devices, err
	}
	defer c.Close()
	_, is4 := e.first(true)
	_, is6 := e.first(false)
	for i := range loops {
		l := &loops[i]
		dev, err := c.Device(l.out)
		missing := errors.Is(err, netdev.ErrNotFound)
		if missing && l.out == innerOut && !both {
			continue
		}
		if missing || err == nil && !dev.Up { // the latter: another Add makes it, or was killed
			dev, err = l.make(c)
		}
		if err == nil {
			err = l.ensureRoutes(c, dev, is4, is6)
		}
		if err != nil {
			return devices, err
		}
		devices[i] = dev.Index
	}
	return devices, nil
}

// ensureRoutes routes copies around the loop, and lets them pass a filter of
// the reverse path, such as firewalld's IPv6_rpfilter or the one of NixOS: it
// asks for the route to a packet's source as if from this host, with the
// packet's mark (nft_fib4_eval and nft_fib6_flowi_init; xt_rpfilter where it is
// told --validmark).
func (l *loop) ensureRoutes(c *netdev.Conn, out *netdev.Device, is4, is6 bool) error {
	in, err := c.Device(l.in)
	if err != nil {
		return err
	}
	b := new(netdev.Batch)
	if is4 {
		b.AddRoute(in.Index, netdev.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Table: int(l.number)})
		b.EnsureRule(l.rule(true))
	}
	if is6 {
		b.AddRoute(out.Index, netdev.Route{Dst: netip.PrefixFrom(l.gateway6, 128)})
		b.AddRoute(in.Index, netdev.Route{Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Table: int(l.number)})
		b.EnsureRule(l.rule(false))
	}
	return c.Do(b)
}

// rule leaves alone what is forwarded.
func (l *loop) rule(is4 bool) netdev.Rule {
	return netdev.Rule{IPv4: is4, IIF: "lo", Mark: l.mark, Table: int(l.number), Priority: 100}
}

// make is complete when out is up. Any route back to the source of a copy
// is good enough: rp_filter of 2 has the better of a stricter one for all
// devices.
func (l *loop) make(c *netdev.Conn) (*netdev.Device, error) {
	b := new(netdev.Batch)
	b.AddVeth(&netdev.Veth{Name: l.out, MAC: loopMAC, MTU: loopMTU, PeerName: l.in, PeerMAC: loopMAC})
	if err := c.Do(b); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	peer, err := c.Device(l.in)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		netdev.WriteSysctl("ipv4/conf/"+l.in+"/rp_filter", "2"),
		netdev.WriteSysctl("ipv6/conf/"+l.in+"/addr_gen_mode", "1"), // no address
		netdev.WriteSysctl("ipv6/conf/"+l.out+"/addr_gen_mode", "1"),
	); err != nil {
		return nil, err
	}
	b.EnsureHostAddr(peer.Index, loopAddress4)
	b.ChangeLink(l.in, netdev.LinkChange{Up: true, NoARP: true})
	b.ChangeLink(l.out, netdev.LinkChange{Up: true, NoARP: true})
	if err := c.Do(b); err != nil {
		return nil, err
	}
	if err := c.SyncCarrier(l.in); err != nil {
		return nil, err
	}
	return c.Device(l.out)
}

func deleteLoop() error {
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	for i := range loops {
		errs = append(errs, netdev.DeleteLinkHere(loops[i].out))
		for _, is4 := range []bool{true, false} {
			b := new(netdev.Batch)
			b.DeleteRule(loops[i].rule(is4))
			if err := c.Do(b); !errors.Is(err, unix.EAFNOSUPPORT) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, forgetPass(aroundLoop))...)
}

// loopChains copy around the loops. To copy is of the families IPv4 and IPv6,
// not of inet, so it needs tables of their own.
func loopChains(is4 bool, devices [2]int) (family uint8, chains []chainDef) {
	input := chainDef{name: "input", kind: "filter", hook: unix.NF_INET_LOCAL_IN, priority: priorityAdmit + 1}
	add := func(why string, parts ...match) { input.rules = append(input.rules, ruleDef{why, rule(parts...)}) }
	arrived := chainDef{name: "arrived", kind: "filter", hook: unix.NF_INET_PRE_ROUTING, priority: priorityArrived}
	for i, l := range loops {
		if devices[i] == 0 {
			continue
		}
		add("past filters of the reverse path", hasPriority(l.number), hasMark(0), setMark(l.mark))
		arrived.rules = append(arrived.rules, ruleDef{"past them", rule(iifIs(l.in), hasMark(l.mark), setMark(0))})
		add("around, to the container", hasPriority(l.number), copyTo(l.gateway(is4).AsSlice(), devices[i]))
	}
	family = unix.NFPROTO_IPV6
	if is4 {
		family = unix.NFPROTO_IPV4
	}
	return family, []chainDef{input, arrived}
}

// addLoop has both families copied around the loops. A kernel that cannot
// (CONFIG_NFT_DUP_IPV4, CONFIG_NFT_DUP_IPV6) loses a new client's first packet
// instead.
func addLoop(c *nlsock.Conn, n *Network, e *Endpoint) error {
	devices, err := ensureLoop(e, n.Internal)
	if err != nil {
		return err
	}
	for _, is4 := range []bool{true, false} {
		if _, ok := e.first(is4); !ok {
			continue
		}
		family, chains := loopChains(is4, devices)
		b := newNFTBatch()
		b.replaceTable(family)
		if err := b.fillTable(family, nil, chains); err != nil {
			return err
		}
		if err := b.commitOn(c); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return letPass(c, aroundLoop)
}

// forgetLoop takes the loop away with the last strict port. One that is
// published at the same instant without it loses a client's first packet,
// until the next that is.
func forgetLoop(c *nlsock.Conn) error {
	b, strict := new(nftBatch), false
	b.message(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, unix.NFPROTO_INET, "list strict ports")
	b.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b.String(unix.NFTA_SET_ELEM_LIST_SET, strictPorts.name)
	if _, err := c.Do(&b.Batch, func(_ int, typ uint16, payload []byte) {
		strict = strict || len(attribute(payload[min(4, len(payload)):], unix.NFTA_SET_ELEM_LIST_ELEMENTS)) > 0
	}); err != nil || strict {
		return err
	}
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		b := newNFTBatch()
		b.table(unix.NFT_MSG_DELTABLE, 0, family)
		if err := b.commitOn(c); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return deleteLoop()
}
