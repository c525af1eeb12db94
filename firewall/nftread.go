package firewall

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// nftRule is a rule of another tool's, as the kernel tells it.
type nftRule struct {
	handle uint64
	parts  []nftPart
	raw    []byte
}

// nftPart is one expression of a rule: a condition or an action.
type nftPart struct {
	name string
	data []byte // attributes
}

// readRules are the rules of a chain, in order.
func readRules(c *nlsock.Conn, family uint8, table, chain string) (rules []nftRule, err error) {
	b := new(nftBatch)
	err = dump(c, b, func() {
		rules = nil
		b.message(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, family, "read rules of "+chain)
		b.String(unix.NFTA_RULE_TABLE, table)
		b.String(unix.NFTA_RULE_CHAIN, chain)
	}, func(payload []byte) { rules = append(rules, decodeRule(payload)) })
	return rules, err
}

// dump asks again when somebody changed a rule meanwhile, wherever it is: the
// kernel tells of any change (nf_tables_dump_rules).
func dump(c *nlsock.Conn, b *nftBatch, ask func(), answer func(payload []byte)) (err error) {
	for range 100 {
		b.Reset()
		ask()
		if _, err = c.Do(&b.Batch, func(_ int, _ uint16, payload []byte) { answer(payload) }); !errors.Is(err, nlsock.ErrInterrupted) {
			return err
		}
	}
	return err
}

func decodeRule(payload []byte) nftRule {
	r := nftRule{raw: append([]byte(nil), payload...)}
	nlsock.Attrs(r.raw[min(4, len(r.raw)):], func(typ uint16, value []byte) {
		switch {
		case typ == unix.NFTA_RULE_HANDLE && len(value) == 8:
			r.handle = binary.BigEndian.Uint64(value)
		case typ == unix.NFTA_RULE_EXPRESSIONS:
			nlsock.Attrs(value, func(_ uint16, e []byte) {
				r.parts = append(r.parts, nftPart{text(attribute(e, unix.NFTA_EXPR_NAME)), attribute(e, unix.NFTA_EXPR_DATA)})
			})
		}
	})
	return r
}

func text(value []byte) string { return unix.ByteSliceToString(value) }

// stopsAll tells a rule that lets nothing pass: it has no condition, and drops
// or rejects. iptables of nftables writes some targets and all comments as
// expressions of the old kind (nft_compat).
func (r *nftRule) stopsAll() bool {
	for i := range r.parts {
		p := &r.parts[i]
		if p.isNeutral() {
			continue
		}
		return p.stops()
	}
	return false
}

// stopsSome tells a rule that drops or rejects what its conditions say.
func (r *nftRule) stopsSome() bool {
	return slices.ContainsFunc(r.parts, func(p nftPart) bool { return p.stops() })
}

// isNeutral tells what neither asks nor decides.
func (p *nftPart) isNeutral() bool {
	switch p.name {
	case "counter", "log":
		return true
	case "match":
		return text(attribute(p.data, unix.NFTA_MATCH_NAME)) == "comment"
	}
	return false
}

func (p *nftPart) stops() bool {
	switch p.name {
	case "reject":
		return true
	case "target":
		return text(attribute(p.data, unix.NFTA_TARGET_NAME)) == "REJECT"
	}
	code, ok := p.verdict()
	return ok && code == 0 // NF_DROP
}

// verdict is what the expression decides at once.
func (p *nftPart) verdict() (code int32, ok bool) {
	if p.name != "immediate" {
		return 0, false
	}
	v := attribute(attribute(attribute(p.data, unix.NFTA_IMMEDIATE_DATA), unix.NFTA_DATA_VERDICT), unix.NFTA_VERDICT_CODE)
	if len(v) != 4 {
		return 0, false
	}
	return int32(binary.BigEndian.Uint32(v)), true
}
