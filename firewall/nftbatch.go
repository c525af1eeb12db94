package firewall

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// nftBatch is one nftables transaction under construction: all of it happens,
// or nothing (nfnetlink's batches, net/netfilter/nfnetlink.c).
type nftBatch struct{ nlsock.Batch }

func newNFTBatch() *nftBatch {
	b := new(nftBatch)
	b.control(unix.NFNL_MSG_BATCH_BEGIN)
	return b
}

func (b *nftBatch) control(typ uint16) {
	b.Message(typ, 0, "nftables transaction")
	b.header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
}

// header is struct nfgenmsg; res is the subsystem of a batch, else 0.
func (b *nftBatch) header(family uint8, res uint8) {
	b.U8(family)
	b.U8(unix.NFNETLINK_V0)
	b.U8(0) // res_id is big-endian
	b.U8(res)
}

func (b *nftBatch) message(typ, flags uint16, family uint8, what string) {
	b.Message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, what)
	b.header(family, 0)
}

// commit sends the transaction and returns the first request that failed.
func (b *nftBatch) commit() error {
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	return b.commitOn(c)
}

// commitOn is commit on a socket that is open. Closing one takes the lock of
// nftables' transactions (nft_rcv_nl_event, net/netfilter/nf_tables_api.c),
// so an Add has only one.
func (b *nftBatch) commitOn(c *nlsock.Conn) error {
	b.control(unix.NFNL_MSG_BATCH_END)
	failed, err := c.Do(&b.Batch, nil)
	if len(failed) > 0 { // of thousands that fail alike, the answers may have been lost
		return failed[0]
	}
	return err
}

func (b *nftBatch) table(typ, flags uint16, family uint8) {
	b.message(typ, flags, family, "nftables table "+table)
	b.String(unix.NFTA_TABLE_NAME, table)
}

// replaceTable makes the table, empty, whether or not there was one.
func (b *nftBatch) replaceTable(family uint8) {
	b.table(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, family)
	b.table(unix.NFT_MSG_DELTABLE, 0, family)
	b.table(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, family)
}

func (b *nftBatch) addSet(s *setDef, id uint32) {
	b.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, s.family, "add nftables set "+s.name)
	b.String(unix.NFTA_SET_TABLE, table)
	b.String(unix.NFTA_SET_NAME, s.name)
	b.BE32(unix.NFTA_SET_FLAGS, s.flags())
	b.BE32(unix.NFTA_SET_KEY_TYPE, typeID(s.key))
	b.BE32(unix.NFTA_SET_KEY_LEN, length(s.key))
	if s.data != nil {
		b.BE32(unix.NFTA_SET_DATA_TYPE, typeID(s.data))
		b.BE32(unix.NFTA_SET_DATA_LEN, length(s.data))
	}
	b.BE32(unix.NFTA_SET_ID, id)
	if len(s.key) > 1 {
		b.fields(s)
	}
	b.setUserdata(s)
}

func (s *setDef) flags() (flags uint32) {
	if s.data != nil {
		flags |= unix.NFT_SET_MAP
	}
	if s.interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if len(s.key) > 1 {
		flags |= nftSetConcat
	}
	if s.timeout {
		flags |= unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	}
	return flags
}

const (
	nftSetConcat     = 0x80 // NFT_SET_CONCAT
	nftSetDescConcat = 2    // NFTA_SET_DESC_CONCAT
	nftSetFieldLen   = 1    // NFTA_SET_FIELD_LEN
	nftSetUserdata   = 0xd  // NFTA_SET_USERDATA
	nftElemKeyEnd    = 0xa  // NFTA_SET_ELEM_KEY_END
	nftDestroyElem   = 0x1e // NFT_MSG_DESTROYSETELEM, since Linux 6.3

	nftUdataKeyOrder = 0 // NFTNL_UDATA_SET_KEYBYTEORDER of libnftnl
	nftUdataComment  = 7 // NFTNL_UDATA_SET_COMMENT
	hostEndian       = 1 // BYTEORDER_HOST_ENDIAN of nft(8)
)

// fields tell where the parts of a key end.
func (b *nftBatch) fields(s *setDef) {
	desc := b.Nest(unix.NFTA_SET_DESC)
	concat := b.Nest(nftSetDescConcat)
	for _, t := range s.key {
		f := b.Nest(unix.NFTA_LIST_ELEM)
		b.BE32(nftSetFieldLen, t.Bytes)
		b.End(f)
	}
	b.End(concat)
	b.End(desc)
}

// setUserdata is what nft(8) wants to know for a listing, as it stores it
// itself: type, length, value. Names of interfaces are strings, which it would
// else take for numbers.
func (b *nftBatch) setUserdata(s *setDef) {
	var data []byte
	if len(s.key) == 1 && s.key[0].Name == ifnameT.Name {
		data = binary.NativeEndian.AppendUint32([]byte{nftUdataKeyOrder, 4}, hostEndian)
	}
	data = append(data, nftUdataComment, byte(len(s.what)+1))
	b.Bytes(nftSetUserdata, append(append(data, s.what...), 0))
}

func (b *nftBatch) addChain(family uint8, c *chainDef) {
	b.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, family, "add nftables chain "+c.name)
	b.String(unix.NFTA_CHAIN_TABLE, table)
	b.String(unix.NFTA_CHAIN_NAME, c.name)
	if c.kind == "" {
		return
	}
	hook := b.Nest(unix.NFTA_CHAIN_HOOK)
	b.BE32(unix.NFTA_HOOK_HOOKNUM, c.hook)
	b.BE32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
	b.End(hook)
	b.BE32(unix.NFTA_CHAIN_POLICY, 1) // NF_ACCEPT
	b.String(unix.NFTA_CHAIN_TYPE, c.kind)
}

func (b *nftBatch) addRule(family uint8, chain string, r *ruleDef) error {
	b.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, family, fmt.Sprintf("add nftables rule %q to chain %s", r.why, chain))
	b.String(unix.NFTA_RULE_TABLE, table)
	b.String(unix.NFTA_RULE_CHAIN, chain)
	list := b.Nest(unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range r.what {
		data, err := expr.Marshal(family, e)
		if err != nil {
			return fmt.Errorf("encode nftables rule %q: %w", r.why, err)
		}
		b.Bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
	}
	b.End(list)
	b.Bytes(unix.NFTA_RULE_USERDATA, append([]byte{0, byte(len(r.why) + 1)}, r.why+"\x00"...))
	return nil
}

// fillTable gives a new table its sets and rules, without elements.
func (b *nftBatch) fillTable(family uint8, sets []*setDef, chains []chainDef) error {
	for i, s := range sets {
		b.addSet(s, uint32(i+1))
	}
	for i := range chains {
		b.addChain(family, &chains[i])
	}
	for i := range chains {
		for j := range chains[i].rules {
			if err := b.addRule(family, chains[i].name, &chains[i].rules[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// element puts one element into a message of its own, so that an error tells
// which one it was.
func (b *nftBatch) element(typ, flags uint16, e *element) {
	b.message(typ, flags, e.set.family, "element of nftables set "+e.set.name)
	b.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b.String(unix.NFTA_SET_ELEM_LIST_SET, e.set.name)
	list := b.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	elem := b.Nest(unix.NFTA_LIST_ELEM)
	b.value(unix.NFTA_SET_ELEM_KEY, e.key)
	if e.set.interval {
		b.value(nftElemKeyEnd, e.end)
	}
	if e.data != nil && typ == unix.NFT_MSG_NEWSETELEM {
		b.value(unix.NFTA_SET_ELEM_DATA, e.data)
	}
	b.End(elem)
	b.End(list)
}

func (b *nftBatch) value(typ uint16, data []byte) {
	nest := b.Nest(typ)
	b.Bytes(unix.NFTA_DATA_VALUE, data)
	b.End(nest)
}
