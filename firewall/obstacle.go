package firewall

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// Obstacles looks for chains of nftables that surely let nothing of a bridge
// pass, in tables whose tool offers no place for an accept: whoever wrote them
// has to. It tells of each the rule, and the commands that help. A chain that
// might accept some of it by a rule that is not understood here is taken to be
// in order. It lists all chains, so it is not for an Add.
//
// Strict tells whether there are strict ports, for which OUTPUT matters too.
func Obstacles(bridge string, strict bool) (obstacles []string, err error) {
	if probeNFTables() != nil {
		return nil, nil
	}
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	chains, err := baseChains(c)
	if err != nil {
		return nil, err
	}
	for i := range chains {
		ch, obstacle := &chains[i], ""
		switch {
		case ch.hook == unix.NF_INET_FORWARD:
			obstacle, err = ch.blocks(c, bridge, unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME)
		case ch.hook == unix.NF_INET_LOCAL_OUT && strict:
			obstacle, err = ch.blocks(c, loopOut, unix.NFT_META_OIFNAME)
		}
		if err != nil {
			return nil, err
		}
		if obstacle != "" {
			obstacles = append(obstacles, obstacle)
		}
	}
	return obstacles, nil
}

// baseChain is a chain of the kind filter that a hook leads to.
type baseChain struct {
	family      uint8
	table, name string
	hook        uint32
	drops       bool
}

// baseChains are those of others, but the ones that letPass answers.
func baseChains(c *nlsock.Conn) (chains []baseChain, err error) {
	b := new(nftBatch)
	err = dump(c, b, func() {
		chains = nil
		b.message(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, unix.NFPROTO_UNSPEC, "list chains")
	}, func(payload []byte) {
		if ch, ok := decodeBaseChain(payload); ok && !ch.isAnswered() {
			chains = append(chains, ch)
		}
	})
	return chains, err
}

func decodeBaseChain(payload []byte) (ch baseChain, ok bool) {
	if len(payload) < 4 {
		return ch, false
	}
	attrs := payload[4:]
	ch = baseChain{family: payload[0], table: text(attribute(attrs, unix.NFTA_CHAIN_TABLE)), name: text(attribute(attrs, unix.NFTA_CHAIN_NAME))}
	hook := attribute(attribute(attrs, unix.NFTA_CHAIN_HOOK), unix.NFTA_HOOK_HOOKNUM)
	if len(hook) != 4 || text(attribute(attrs, unix.NFTA_CHAIN_TYPE)) != "filter" || !slices.Contains([]uint8{unix.NFPROTO_INET, unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}, ch.family) {
		return ch, false
	}
	ch.hook, ch.drops = binary.BigEndian.Uint32(hook), isDropPolicy(payload)
	return ch, true
}

func (ch *baseChain) isAnswered() bool {
	return ch.table == table || ch.table == firewalldTable ||
		ch.family != unix.NFPROTO_INET && ch.table == "filter" && (ch.name == "FORWARD" || ch.name == "OUTPUT")
}

// blocks follows a packet of a new connection through the chain, and tells where
// that ends; empty: it may pass.
func (ch *baseChain) blocks(c *nlsock.Conn, device string, ways ...uint32) (string, error) {
	rules, err := readRules(c, ch.family, ch.table, ch.name)
	if err != nil {
		return "", err
	}
	quoted := ""
	for i := range rules {
		r := &rules[i]
		if r.stopsAll() {
			quoted = fmt.Sprintf("its rule %q", ch.quote(r, i))
			break
		}
		if r.mayAccept(device, ways) {
			return "", nil
		}
	}
	switch {
	case quoted == "" && !ch.drops:
		return "", nil
	case quoted == "":
		quoted = "its policy of drop"
	}
	var commands []string
	for _, way := range ways {
		key := map[uint32]string{unix.NFT_META_IIFNAME: "iifname", unix.NFT_META_OIFNAME: "oifname"}[way]
		commands = append(commands, fmt.Sprintf("nft insert rule %s %s %s accept", ch.fullName(), key, quotedDevice(device)))
	}
	return fmt.Sprintf("nftables chain %s lets nothing of %s pass, by %s; to allow it: %s",
		ch.fullName(), device, quoted, strings.Join(commands, "; ")), nil
}

// quotedDevice matches both loops of strict ports.
func quotedDevice(name string) string {
	if name == loopOut {
		name += "*"
	}
	return fmt.Sprintf("%q", name)
}

func (ch *baseChain) fullName() string {
	family := map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}[ch.family]
	return family + " " + ch.table + " " + ch.name
}

// quote is the rule as nft(8) prints it, where that is installed.
func (ch *baseChain) quote(r *nftRule, index int) string {
	args := append([]string{"-a", "list", "chain"}, strings.Fields(ch.fullName())...)
	out, _ := exec.Command("nft", args...).Output()
	for line := range strings.Lines(string(out)) {
		if rule, ok := strings.CutSuffix(strings.TrimSpace(line), fmt.Sprintf(" # handle %d", r.handle)); ok {
			return rule
		}
	}
	return fmt.Sprintf("number %d", index+1)
}
