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

// places are where other tools want an administrator's accepts for what they
// would drop: Docker's chain, ufw's, and the kernel's own.
var places = map[uint8][]string{
	unix.NFPROTO_IPV4: {"DOCKER-USER", "ufw-user-forward", "FORWARD"},
	unix.NFPROTO_IPV6: {"DOCKER-USER", "ufw6-user-forward", "FORWARD"},
}

// letPass answers a FORWARD policy of drop that another tool has left: an
// accept elsewhere is not final, so ours would not help. It adds the smallest
// accept, for the one bridge, where that tool expects it, and never touches
// the policy. Such a tool may come at any time, so every Add asks; without
// such a policy that is one netlink request for both families. The rules of
// this package still drop what they drop.
func letPass(c *nlsock.Conn, bridge string) error {
	drops, firewalld, err := dropping(c)
	if err == nil && firewalld {
		err = trust(c, bridge)
	}
	if err == nil {
		err = legacyPass(bridge)
	}
	if err != nil {
		return fmt.Errorf("another firewall drops what is forwarded by default; accept %s there: %w", bridge, err)
	}
	for _, family := range drops {
		place, err := placeFor(c, bridge, family)
		if err == nil && place != "" {
			err = acceptIn(place, bridge, family)
		}
		if err != nil {
			return fmt.Errorf("another firewall drops what is forwarded by default; accept %s there: %w", bridge, err)
		}
	}
	return nil
}

// dropping are the families whose FORWARD has a policy of drop, and whether
// there is a firewalld.
func dropping(c *nlsock.Conn) (drops []uint8, firewalld bool, err error) {
	families := []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}
	b := new(nftBatch)
	for _, family := range families {
		b.readChain("filter", "FORWARD", family)
	}
	b.readChain(firewalldTable, firewalldChain, unix.NFPROTO_INET)
	_, err = c.Do(&b.Batch, func(i int, _ uint16, payload []byte) {
		if i == len(families) {
			firewalld = true
			return
		}
		policy := attribute(payload[4:], unix.NFTA_CHAIN_POLICY)
		if len(policy) == 4 && policy[3] == 0 { // NF_DROP
			drops = append(drops, families[i])
		}
	})
	return drops, firewalld, err
}

func (b *nftBatch) readChain(table, name string, family uint8) {
	b.message(unix.NFT_MSG_GETCHAIN, 0, family, "read chain "+name)
	b.String(unix.NFTA_CHAIN_TABLE, table)
	b.String(unix.NFTA_CHAIN_NAME, name)
}

// placeFor is the chain that lacks an accept for the bridge, or "".
func placeFor(c *nlsock.Conn, bridge string, family uint8) (string, error) {
	chains := places[family]
	b := new(nftBatch)
	for _, name := range chains {
		b.readChain("filter", name, family)
	}
	found := make([]bool, len(chains))
	if _, err := c.Do(&b.Batch, func(i int, _ uint16, _ []byte) { found[i] = true }); err != nil {
		return "", err
	}
	first := slices.Index(found, true)
	if first < 0 { // FORWARD has gone meanwhile
		return "", nil
	}
	there, err := mentions(c, chains[first], family, passMark(bridge))
	if err != nil || there {
		return "", err
	}
	return chains[first], nil
}

func passMark(bridge string) string { return "berth:pass:" + bridge }

// mentions tells whether a rule of the chain has the comment.
func mentions(c *nlsock.Conn, chain string, family uint8, mark string) (there bool, err error) {
	b := new(nftBatch)
	b.message(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, family, "read rules of "+chain)
	b.String(unix.NFTA_RULE_TABLE, "filter")
	b.String(unix.NFTA_RULE_CHAIN, chain)
	_, err = c.Do(&b.Batch, func(_ int, _ uint16, payload []byte) {
		there = there || bytes.Contains(payload, append([]byte(mark), 0))
	})
	return there, err
}

func acceptIn(place, bridge string, family uint8) error {
	return eachPass(bridge, family, func(ipt *iptables.IPTables, spec []string) error {
		return ipt.InsertUnique("filter", place, 1, spec...)
	})
}

// forgetPass removes the accepts of a bridge.
func forgetPass(bridge string) error {
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	errs := []error{distrust(c, bridge), forgetLegacyPass(bridge)}
	for family, chains := range places {
		for _, place := range chains {
			if there, err := mentions(c, place, family, passMark(bridge)); err != nil || !there {
				continue
			}
			errs = append(errs, eachPass(bridge, family, func(ipt *iptables.IPTables, spec []string) error {
				return ipt.DeleteIfExists("filter", place, spec...)
			}))
		}
	}
	return errors.Join(errs...)
}

func eachPass(bridge string, family uint8, fn func(*iptables.IPTables, []string) error) error {
	ipt, err := IPTables{}.tool(family == unix.NFPROTO_IPV4)
	if err != nil {
		return err
	}
	comment := []string{"-m", "comment", "--comment", passMark(bridge), "-j", "ACCEPT"}
	return errors.Join(
		fn(ipt, append([]string{"-i", bridge}, comment...)),
		fn(ipt, append([]string{"-o", bridge}, comment...)),
	)
}
