package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/coreos/go-iptables/iptables"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// passage is what other tools' rules have to let pass in one of the kernel's
// chains of the table filter.
type passage struct {
	chain  string
	hook   uint32   // that chain's
	device string   // as iptables takes it
	ways   []string // its options for the device

	// first: what drops or rejects some packets of the chain is answered, too.
	// A rule for mail that the host must not send, say, is not meant for a copy
	// of mail that INPUT has let in.
	first bool
}

func throughBridge(bridge string) passage {
	return passage{"FORWARD", unix.NF_INET_FORWARD, bridge, []string{"-i", "-o"}, false}
}

// aroundLoop lets copies leave for the loops of strict ports.
var aroundLoop = passage{"OUTPUT", unix.NF_INET_LOCAL_OUT, loopOut + "+", []string{"-o"}, true}

// places are where other tools want an administrator's accepts for what they
// would drop: Docker's chain, ufw's, and the kernel's own.
func (p *passage) places(family uint8) []string {
	switch is4 := family == unix.NFPROTO_IPV4; {
	case p.chain == "FORWARD" && is4:
		return []string{"DOCKER-USER", "ufw-user-forward", p.chain}
	case p.chain == "FORWARD":
		return []string{"DOCKER-USER", "ufw6-user-forward", p.chain}
	case is4:
		return []string{"ufw-user-output", p.chain}
	}
	return []string{"ufw6-user-output", p.chain}
}

func (p *passage) mark() string { return "berth:pass:" + p.device }

// letPass answers what another tool has left at the end of the chain: a policy
// of drop, or a rule that rejects or drops all that comes so far. An accept
// elsewhere is not final, so ours would not help. It adds the smallest accept,
// for the one device, where that tool expects it, and never touches the policy.
// Such a tool may come at any time, so every Add asks; where there is none that
// is one netlink request for both families. The rules of this package still
// drop what they drop.
func letPass(c *nlsock.Conn, p passage) error {
	ends, firewalld, err := p.ends(c)
	if err == nil && firewalld && p.chain == "FORWARD" {
		err = trust(c, p.device)
	}
	if err == nil {
		err = legacyPass(p)
	}
	for _, end := range ends {
		if err == nil {
			err = end.letPass(c, p)
		}
	}
	if err != nil {
		return fmt.Errorf("another firewall drops what no rule of its chain %s accepts; accept %s there: %w", p.chain, p.device, err)
	}
	return nil
}

// families are those that have a chain each.
var families = []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}

// deadEnd is a family whose chain lets nothing pass that no rule accepts, or
// not all.
type deadEnd struct {
	family  uint8
	barrier int  // the number of the rule that says so, from 1; 0: the policy does
	partial bool // that rule is about some packets
}

// ends are the dead ends among the chains of both families, and whether there
// is a firewalld.
func (p *passage) ends(c *nlsock.Conn) (ends []deadEnd, firewalld bool, err error) {
	b := new(nftBatch)
	for _, family := range families {
		b.readChain("filter", p.chain, family)
	}
	b.readChain(firewalldTable, firewalldChain, unix.NFPROTO_INET)
	there, drops := make([]bool, len(families)+1), make([]bool, len(families)+1)
	if _, err := c.Do(&b.Batch, func(i int, _ uint16, payload []byte) {
		there[i], drops[i] = true, isDropPolicy(payload)
	}); err != nil {
		return nil, false, err
	}
	for i, family := range families {
		if !there[i] {
			continue
		}
		rules, err := readRules(c, family, "filter", p.chain)
		if err != nil {
			return nil, false, err
		}
		end := deadEnd{family: family, barrier: 1 + slices.IndexFunc(rules, func(r nftRule) bool { return r.stopsAll() })}
		if some := 1 + slices.IndexFunc(rules, func(r nftRule) bool { return r.stopsSome() }); p.first && some > 0 {
			end.partial, end.barrier = some != end.barrier, some
		}
		if drops[i] || end.barrier > 0 {
			ends = append(ends, end)
		}
	}
	return ends, there[len(families)], nil
}

// isDropPolicy is about a chain, as the kernel tells it.
func isDropPolicy(payload []byte) bool {
	policy := attribute(payload[min(4, len(payload)):], unix.NFTA_CHAIN_POLICY)
	return len(policy) == 4 && policy[3] == 0 // NF_DROP
}

func (b *nftBatch) readChain(table, name string, family uint8) {
	b.message(unix.NFT_MSG_GETCHAIN, 0, family, "read chain "+name)
	b.String(unix.NFTA_CHAIN_TABLE, table)
	b.String(unix.NFTA_CHAIN_NAME, name)
}

// letPass accepts in the first place of the family. In a tool's own chain that
// is before all else; in the kernel's it is behind the administrator's rules,
// as far as they let it. A rule in the middle of the kernel's chain may come
// before the tool's.
func (end *deadEnd) letPass(c *nlsock.Conn, p passage) error {
	places := p.places(end.family)
	if end.partial {
		places = []string{p.chain}
	}
	place, err := p.placeFor(c, end.family, places)
	if err != nil || place == "" {
		return err
	}
	return p.each(end.family, func(ipt *iptables.IPTables, spec []string) error {
		switch {
		case place != p.chain:
			return ipt.InsertUnique("filter", place, 1, spec...)
		case end.barrier > 0:
			return ipt.InsertUnique("filter", place, end.barrier, spec...)
		}
		return ipt.AppendUnique("filter", place, spec...)
	})
}

// placeFor is the first of the chains, if that lacks an accept, or "".
func (p *passage) placeFor(c *nlsock.Conn, family uint8, chains []string) (string, error) {
	b := new(nftBatch)
	for _, name := range chains {
		b.readChain("filter", name, family)
	}
	found := make([]bool, len(chains))
	if _, err := c.Do(&b.Batch, func(i int, _ uint16, _ []byte) { found[i] = true }); err != nil {
		return "", err
	}
	first := slices.Index(found, true)
	if first < 0 { // the kernel's chain has gone meanwhile
		return "", nil
	}
	there, err := mentions(c, chains[first], family, p.mark())
	if err != nil || there {
		return "", err
	}
	return chains[first], nil
}

// mentions tells whether a rule of the chain has the comment.
func mentions(c *nlsock.Conn, chain string, family uint8, mark string) (bool, error) {
	rules, err := readRules(c, family, "filter", chain)
	return slices.ContainsFunc(rules, func(r nftRule) bool { return bytes.Contains(r.raw, append([]byte(mark), 0)) }), err
}

// forgetPass removes the accepts of a device.
func forgetPass(p passage) error {
	errs := []error{forgetLegacyPass(p)}
	if probeNFTables() != nil {
		return errors.Join(errs...)
	}
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	if p.chain == "FORWARD" {
		errs = append(errs, distrust(c, p.device))
	}
	for _, family := range families {
		for _, place := range p.places(family) {
			if there, err := mentions(c, place, family, p.mark()); err != nil || !there {
				continue
			}
			errs = append(errs, p.each(family, func(ipt *iptables.IPTables, spec []string) error {
				return ipt.DeleteIfExists("filter", place, spec...)
			}))
		}
	}
	return errors.Join(errs...)
}

// each hands fn the accept of each way.
func (p *passage) each(family uint8, fn func(*iptables.IPTables, []string) error) error {
	ipt, err := IPTables{}.tool(family == unix.NFPROTO_IPV4)
	if err != nil {
		return err
	}
	for _, way := range p.ways {
		if err := fn(ipt, []string{way, p.device, "-m", "comment", "--comment", p.mark(), "-j", "ACCEPT"}); err != nil {
			return err
		}
	}
	return nil
}
