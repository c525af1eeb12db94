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
const (
	loopOut = "berth-strict"
	loopIn  = "berth-again"

	// loopPriority marks the packets to be copied.
	loopPriority = 0x62657274
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
	loopGateway4 = netip.MustParseAddr("169.254.98.102")
	loopGateway6 = netip.MustParseAddr("fe80::6265")
)

// ensureLoop makes the pair or finds it, and returns the index of loopOut.
func ensureLoop(e *Endpoint) (int, error) {
	c, err := netdev.Dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	dev, err := c.Device(loopOut)
	if errors.Is(err, netdev.ErrNotFound) || err == nil && !dev.Up { // the latter: another Add makes it, or was killed
		dev, err = makeLoop(c)
	}
	if err != nil {
		return 0, err
	}
	if _, ok := e.first(false); !ok {
		return dev.Index, nil
	}
	b := new(netdev.Batch)
	b.AddRoute(dev.Index, netdev.Route{Dst: netip.PrefixFrom(loopGateway6, 128)})
	return dev.Index, c.Do(b)
}

// makeLoop is complete when loopOut is up. Any route back to the source of a
// copy is good enough: rp_filter of 2 has the better of a stricter one for all
// devices.
func makeLoop(c *netdev.Conn) (*netdev.Device, error) {
	b := new(netdev.Batch)
	b.AddVeth(&netdev.Veth{Name: loopOut, MAC: loopMAC, MTU: loopMTU, PeerName: loopIn, PeerMAC: loopMAC})
	if err := c.Do(b); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	in, err := c.Device(loopIn)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		netdev.WriteSysctl("ipv4/conf/"+loopIn+"/rp_filter", "2"),
		netdev.WriteSysctl("ipv6/conf/"+loopIn+"/addr_gen_mode", "1"), // no address
		netdev.WriteSysctl("ipv6/conf/"+loopOut+"/addr_gen_mode", "1"),
	); err != nil {
		return nil, err
	}
	b.EnsureHostAddr(in.Index, loopAddress4)
	b.ChangeLink(loopIn, netdev.LinkChange{Up: true, NoARP: true})
	b.ChangeLink(loopOut, netdev.LinkChange{Up: true, NoARP: true})
	if err := c.Do(b); err != nil {
		return nil, err
	}
	if err := c.SyncCarrier(loopIn); err != nil {
		return nil, err
	}
	return c.Device(loopOut)
}

func deleteLoop() error {
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	b := new(netdev.Batch)
	b.DeleteLink(loopOut)
	if err := c.Do(b); err != nil && !netdev.Missing(err) {
		return err
	}
	return nil
}

// loopChains copy around the loop. To copy is of the families IPv4 and IPv6,
// not of inet, so it needs tables of their own.
func loopChains(is4 bool, device int) (family uint8, chains []chainDef) {
	family, gateway := uint8(unix.NFPROTO_IPV6), loopGateway6
	if is4 {
		family, gateway = unix.NFPROTO_IPV4, loopGateway4
	}
	return family, []chainDef{{
		name: "input", kind: "filter", hook: unix.NF_INET_LOCAL_IN, priority: priorityAdmit + 1,
		rules: []ruleDef{{"around, to the container", rule(hasPriority(loopPriority), copyTo(gateway.AsSlice(), device))}},
	}}
}

// addLoop has both families copied around the loop. A kernel that cannot
// (CONFIG_NFT_DUP_IPV4, CONFIG_NFT_DUP_IPV6) loses a new client's first packet
// instead.
func addLoop(c *nlsock.Conn, e *Endpoint) error {
	device, err := ensureLoop(e)
	if err != nil {
		return err
	}
	for _, is4 := range []bool{true, false} {
		if _, ok := e.first(is4); !ok {
			continue
		}
		family, chains := loopChains(is4, device)
		b := newNFTBatch()
		b.replaceTable(family)
		if err := b.fillTable(family, nil, chains); err != nil {
			return err
		}
		if err := b.commitOn(c); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
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
