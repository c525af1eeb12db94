package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Anycast is a bridged network that spans hosts and whose gateway has the
// same MAC and addresses on each of them.
type Anycast struct {
	Port     string // device that leads to the other hosts
	MAC      net.HardwareAddr
	Gateways []netip.Addr
}

// anycastTable is of the bridge family, because its frames never reach IP.
const anycastTable = "berth-anycast"

// KeepGateway keeps the gateway within this host: frames with its MAC neither
// leave by the port nor come in by it, and nobody asks for its address
// beyond. Else a container would hear as many answers as there are hosts, and
// a bridge would learn its own MAC on the port. Repeating it is success.
func KeepGateway(a Anycast) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := newAnycastTable(c)
	err = errors.Join(
		c.SetAddElements(t.mac, elements(a.macKeys())),
		c.SetAddElements(t.ip4, elements(a.addressKeys(true))),
		c.SetAddElements(t.ip6, elements(a.addressKeys(false))),
	)
	if err == nil {
		err = c.Flush()
	}
	if err != nil {
		return fmt.Errorf("keep the anycast gateway of %s within the host: %w", a.Port, err)
	}
	return nil
}

// CheckGateway fails with ErrMissing where what KeepGateway made is not whole.
func CheckGateway(a Anycast) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: anycastTable, Family: nftables.TableFamilyBridge}
	for name, want := range anycastRules {
		have, err := c.GetRules(t, &nftables.Chain{Name: name, Table: t})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("read nftables chain %s: %w", name, err)
		}
		if len(have) != want {
			return fmt.Errorf("rules of chain %s of table %s: %w", name, anycastTable, ErrMissing)
		}
	}
	sets := anycastSets(t)
	return errors.Join(
		checkSetHas(c, sets.mac, a.macKeys()), checkSetHas(c, sets.ip4, a.addressKeys(true)), checkSetHas(c, sets.ip6, a.addressKeys(false)))
}

// checkSetHas fails with ErrMissing where the set lacks one of the keys.
func checkSetHas(c *nftables.Conn, set *nftables.Set, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	have, err := c.GetSetElements(set)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("read set %s of nftables table %s: %w", set.Name, set.Table.Name, err)
	}
	for _, key := range keys {
		if !slices.ContainsFunc(have, func(e nftables.SetElement) bool { return string(e.Key) == string(key) }) {
			return fmt.Errorf("an element of set %s of table %s: %w", set.Name, set.Table.Name, ErrMissing)
		}
	}
	return nil
}

// ForgetGateway takes back what KeepGateway added, and with the last gateway
// the table. What is gone already is success. Two processes must not run it
// and KeepGateway at once.
func ForgetGateway(a Anycast) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	var errs []error
	t := anycastSets(&nftables.Table{Name: anycastTable, Family: nftables.TableFamilyBridge})
	forget := func(set *nftables.Set, keys [][]byte) {
		for _, key := range keys {
			// One transaction each: a missing element ends its transaction.
			errs = append(errs, c.SetDeleteElements(set, elements([][]byte{key})))
			if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("forget the anycast gateway of %s: %w", a.Port, err))
			}
		}
	}
	forget(t.mac, a.macKeys())
	forget(t.ip4, a.addressKeys(true))
	forget(t.ip6, a.addressKeys(false))
	return errors.Join(append(errs, dropIfEmpty(c, t.mac))...)
}

// dropIfEmpty deletes a set's table when the set has no element.
func dropIfEmpty(c *nftables.Conn, set *nftables.Set) error {
	tables, err := c.ListTablesOfFamily(set.Table.Family)
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == set.Table.Name }) {
		return nil
	}
	if left, err := c.GetSetElements(set); err != nil || len(left) > 0 {
		return err
	}
	c.DelTable(set.Table)
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete nftables table %s: %w", set.Table.Name, err)
	}
	return nil
}

func (a *Anycast) macKeys() [][]byte {
	return [][]byte{append(ifname(a.Port), a.MAC[0], a.MAC[1], a.MAC[2], a.MAC[3], a.MAC[4], a.MAC[5], 0, 0)}
}

func (a *Anycast) addressKeys(is4 bool) (keys [][]byte) {
	for _, g := range a.Gateways {
		if g.Is4() == is4 {
			keys = append(keys, append(ifname(a.Port), g.AsSlice()...))
		}
	}
	return keys
}

// ifname is a device's name as the kernel compares it: zero padded.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func elements(keys [][]byte) []nftables.SetElement {
	list := make([]nftables.SetElement, 0, len(keys))
	for _, k := range keys {
		list = append(list, nftables.SetElement{Key: k})
	}
	return list
}

// anycast is the table's sets; each key begins with the port's name.
type anycast struct{ mac, ip4, ip6 *nftables.Set }

func anycastSets(t *nftables.Table) anycast {
	set := func(name string, with nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{Table: t, Name: name, Concatenation: true, KeyType: nftables.MustConcatSetType(nftables.TypeIFName, with)}
	}
	return anycast{
		mac: set("gateway-mac", nftables.TypeEtherAddr),
		ip4: set("gateway4", nftables.TypeIPAddr),
		ip6: set("gateway6", nftables.TypeIP6Addr),
	}
}

// anycastRules is how many rules newAnycastTable makes in each chain.
var anycastRules = map[string]int{"in": 1, "forward": 2, "out": 1}

// newAnycastTable says the whole table anew: adding what is there is no
// error, and the chains are emptied in the same transaction.
func newAnycastTable(c *nftables.Conn) anycast {
	t := c.AddTable(&nftables.Table{Name: anycastTable, Family: nftables.TableFamilyBridge})
	sets := anycastSets(t)
	for i, s := range []*nftables.Set{sets.mac, sets.ip4, sets.ip6} {
		// Numbers that the library chooses come from a variable that it shares
		// between goroutines without a lock; they matter in this batch alone.
		s.ID = uint32(i + 1)
		c.AddSet(s, nil) // cannot fail without elements
	}
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		ch := c.AddChain(&nftables.Chain{
			Name: name, Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityRef(-200), // NF_BR_PRI_FILTER_BRIDGED
		})
		c.FlushChain(ch)
		return ch
	}
	in, forward, out := chain("in", nftables.ChainHookPrerouting), chain("forward", nftables.ChainHookForward), chain("out", nftables.ChainHookOutput)
	rule := func(ch *nftables.Chain, exprs ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: append(flatten(exprs), &expr.Verdict{Kind: expr.VerdictDrop})})
	}
	rule(in, within(sets.mac, expr.MetaKeyIIFNAME, sourceMAC))
	rule(out, within(sets.mac, expr.MetaKeyOIFNAME, sourceMAC))
	rule(forward, protocol(unix.ETH_P_ARP), within(sets.ip4, expr.MetaKeyOIFNAME, arpTarget))
	rule(forward, protocol(unix.ETH_P_IPV6), neighbourSolicitation, within(sets.ip6, expr.MetaKeyOIFNAME, ndTarget))
	return sets
}

func flatten(parts [][]expr.Any) (all []expr.Any) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Where a frame has what: Ethernet's source address, ARP's target address
// (RFC 826), the target of a neighbour solicitation (RFC 4861, section 4.3),
// which has no extension header before it.
var (
	sourceMAC = expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}
	arpTarget = expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 4}
	ndTarget  = expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 40 + 8, Len: 16}

	neighbourSolicitation = []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 1},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 40, Len: 1},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{135}},
	}
)

func protocol(ethertype uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: binaryutil.BigEndian.PutUint16(ethertype)},
	}
}

// within matches the pair of a device's name and a field. A name fills the
// first 16-byte register, and the field follows in the second.
func within(set *nftables.Set, device expr.MetaKey, field expr.Payload) []expr.Any {
	field.DestRegister = 2
	return []expr.Any{
		&expr.Meta{Key: device, Register: 1},
		&field,
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}
