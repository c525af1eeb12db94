package firewall

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Sealed is a VXLAN network whose packets may travel by one device only, that
// of the encrypted mesh between the hosts.
type Sealed struct {
	Device string // of the mesh, the same for all sealed networks of a host
	Port   uint16 // UDP
	VNI    uint32
}

// sealedTable is a table of its own, so that hosts without encrypted networks
// do not pay for it with every packet.
const sealedTable = "berth-sealed"

// Seal has the host neither send nor accept a network's VXLAN packets but by
// the mesh, and accept nothing else by the mesh. It is the second lock: the
// VXLAN device itself is bound to the mesh by its link-local addresses.
// Repeating it is success.
func Seal(s Sealed) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	set := newSealedTable(c, s.Device)
	err = c.SetAddElements(set, elements([][]byte{s.key()}))
	if err == nil {
		err = c.Flush()
	}
	if err != nil {
		return fmt.Errorf("seal VXLAN network %d: %w", s.VNI, err)
	}
	return nil
}

// Unseal takes back what Seal added, and with the last network the table. What
// is gone already is success. Two processes must not run it and Seal at once.
func Unseal(s Sealed) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	set := sealedSet(&nftables.Table{Name: sealedTable, Family: nftables.TableFamilyINet})
	if err := c.SetDeleteElements(set, elements([][]byte{s.key()})); err != nil {
		return fmt.Errorf("unseal VXLAN network %d: %w", s.VNI, err)
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unseal VXLAN network %d: %w", s.VNI, err)
	}
	return dropIfEmpty(c, set)
}

// CheckSealed fails with ErrMissing where the rules are not as Seal made them.
func CheckSealed(s Sealed) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: sealedTable, Family: nftables.TableFamilyINet}
	for name, rules := range sealedRules(sealedSet(t), s.Device) {
		have, err := c.GetRules(t, &nftables.Chain{Name: name, Table: t})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("read nftables chain %s: %w", name, err)
		}
		if len(have) != len(rules) {
			return fmt.Errorf("rules of chain %s of table %s: %w", name, sealedTable, ErrMissing)
		}
	}
	return checkSetHas(c, sealedSet(t), [][]byte{s.key()})
}

// key is the UDP port and the VNI, each in a register of four bytes.
func (s *Sealed) key() []byte {
	return []byte{byte(s.Port >> 8), byte(s.Port), 0, 0, byte(s.VNI >> 16), byte(s.VNI >> 8), byte(s.VNI), 0}
}

// sealedSet shows a VNI as the first three bytes of an address: nft(8) has no
// type for it.
func sealedSet(t *nftables.Table) *nftables.Set {
	return &nftables.Set{
		Table: t, Name: "networks", Concatenation: true, ID: 1,
		KeyType: nftables.MustConcatSetType(nftables.TypeInetService, nftables.TypeIPAddr),
	}
}

// newSealedTable says the whole table anew: adding what is there is no error,
// and the chains are emptied and filled in one transaction.
func newSealedTable(c *nftables.Conn, device string) *nftables.Set {
	t := c.AddTable(&nftables.Table{Name: sealedTable, Family: nftables.TableFamilyINet})
	set := sealedSet(t)
	c.AddSet(set, nil) // cannot fail without elements
	rules := sealedRules(set, device)
	for name, hook := range map[string]*nftables.ChainHook{"in": nftables.ChainHookInput, "out": nftables.ChainHookOutput} {
		chain := c.AddChain(&nftables.Chain{
			Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityRef(priorityRaw),
		})
		c.FlushChain(chain)
		for _, r := range rules[name] {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: r})
		}
	}
	return set
}

// sealedRules are those of each chain.
func sealedRules(set *nftables.Set, device string) map[string][]match {
	by := func(key expr.MetaKey, op expr.CmpOp) match {
		return match{meta(key, reg1), &expr.Cmp{Op: op, Register: reg1, Data: ifname(device)}}
	}
	return map[string][]match{
		"in": {
			rule(vxlanOf(set), by(expr.MetaKeyIIFNAME, expr.CmpOpNeq), drop()),
			rule(vxlanOf(set), accept()),
			rule(by(expr.MetaKeyIIFNAME, expr.CmpOpEq), drop()),
		},
		"out": {rule(vxlanOf(set), by(expr.MetaKeyOIFNAME, expr.CmpOpNeq), drop())},
	}
}

// vxlanOf matches a VXLAN packet of a network in the set: the VNI is the fifth
// to seventh byte behind the UDP header (RFC 7348, section 5).
func vxlanOf(set *nftables.Set) match {
	return match{
		meta(expr.MetaKeyL4PROTO, reg1), equal([]byte{unix.IPPROTO_UDP}),
		&expr.Payload{DestRegister: word(0), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Payload{DestRegister: word(1), Base: expr.PayloadBaseTransportHeader, Offset: 8 + 4, Len: 3},
		&expr.Lookup{SourceRegister: reg1, SetName: set.Name, SetID: set.ID},
	}
}
