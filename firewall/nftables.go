package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// NFTables is the backend that speaks to the kernel by netlink.
type NFTables struct{}

// Add adds elements only. The kernel says ENOENT where the table is not there
// yet or has been flushed away, and only then are the rules made.
func (f NFTables) Add(n *Network, e *Endpoint) error {
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	elements := append(networkElements(n), endpointElements(n, e)...)
	err = addElements(c, elements)
	for range 2 { // each table at most once
		if !errors.Is(err, unix.ENOENT) {
			break
		}
		if err = makeTable(err); err == nil {
			err = addElements(c, elements)
		}
	}
	if err != nil {
		return fmt.Errorf("add to firewall of %s: %w", n.Bridge, busy(err))
	}
	if e.strict() {
		if err := addLoop(c, n, e); err != nil {
			return fmt.Errorf("publish ports of %s strictly: %w", n.Bridge, err)
		}
	}
	return letPass(c, throughBridge(n.Bridge))
}

func addElements(c *nlsock.Conn, elements []element) error {
	b := newNFTBatch()
	for i := range elements {
		b.element(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, &elements[i])
	}
	return b.commitOn(c)
}

// busy explains an element that is there with another value.
func busy(err error) error {
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w: %w", ErrPortTaken, err)
	}
	return err
}

// makeTable makes the table that the error misses. Whoever comes second in a
// race finds it made: NLM_F_EXCL has the kernel decide.
func makeTable(missing error) error {
	var failed *nlsock.Error
	if !errors.As(missing, &failed) {
		return missing
	}
	family, sets, chains := uint8(unix.NFPROTO_INET), inetSets, inetChains()
	for _, s := range bridgeSets {
		if failed.What == "element of nftables set "+s.name {
			family, sets, chains = unix.NFPROTO_BRIDGE, bridgeSets, bridgeChains()
		}
	}
	b := newNFTBatch()
	b.table(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, family)
	if err := b.fillTable(family, sets, chains); err != nil {
		return err
	}
	if err := b.commit(); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// Del removes the container's elements and leaves the network's.
func (f NFTables) Del(n *Network, e *Endpoint) error {
	if err := removeElements(endpointElements(n, e)); err != nil {
		return fmt.Errorf("remove from firewall of %s: %w", n.Bridge, err)
	}
	return nil
}

// Forget removes the network's elements.
func (f NFTables) Forget(n *Network) error {
	name := keyName(n.Bridge)
	var elements []element
	for _, s := range []*setDef{bridges, internal, isolated, hidden} {
		elements = append(elements, element{set: s, key: name})
	}
	for _, s := range []*setDef{inside, apart} {
		elements = append(elements, element{set: s, key: concat(name, name)})
	}
	if err := removeElements(elements); err != nil {
		return fmt.Errorf("remove network %s from firewall: %w", n.Bridge, err)
	}
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	return errors.Join(forgetLoop(c), forgetPass(throughBridge(n.Bridge)))
}

// removeElements removes those that are there. Linux 6.3 has a message that
// does not mind a missing one; before, each must go by itself, because one
// that is missing undoes its transaction.
func removeElements(elements []element) error {
	b := newNFTBatch()
	for i := range elements {
		b.element(nftDestroyElem, 0, &elements[i])
	}
	err := b.commit()
	switch {
	case err == nil || errors.Is(err, unix.ENOENT): // ENOENT: no table
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP):
		return removeEach(elements)
	default:
		return err
	}
	return nil
}

func removeEach(elements []element) error {
	var errs []error
	for i := range elements {
		b := newNFTBatch()
		b.element(unix.NFT_MSG_DELSETELEM, 0, &elements[i])
		if err := b.commit(); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Check asks for each element by itself; the kernel looks it up as it would
// for a packet.
func (f NFTables) Check(n *Network, e *Endpoint) error {
	elements := append(networkElements(n), endpointElements(n, e)...)
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	for some := range slices.Chunk(elements, answersAtOnce) {
		if err := checkElements(c, n.Bridge, some); err != nil {
			return err
		}
	}
	if err := checkChains(c, unix.NFPROTO_INET, inetChains()); err != nil || e.Port == "" {
		return err
	}
	return checkChains(c, unix.NFPROTO_BRIDGE, bridgeChains())
}

// answersAtOnce is less than a socket's receive buffer holds.
const answersAtOnce = 64

func checkElements(c *nlsock.Conn, bridge string, elements []element) error {
	b := new(nftBatch)
	for i := range elements {
		b.element(unix.NFT_MSG_GETSETELEM, 0, &elements[i])
	}
	found := make([]bool, len(elements))
	failed, err := c.Do(&b.Batch, func(i int, _ uint16, payload []byte) {
		found[i] = elements[i].data == nil || sameData(payload, elements[i].data)
	})
	if err != nil {
		return err
	}
	for _, err := range failed {
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	for i, ok := range found {
		if !ok {
			return fmt.Errorf("%s of %s: %w", elements[i].set.what, bridge, ErrMissing)
		}
	}
	return nil
}

// sameData compares the value of the element that the kernel answered with.
func sameData(payload, want []byte) bool {
	for _, typ := range []uint16{unix.NFTA_SET_ELEM_LIST_ELEMENTS, unix.NFTA_LIST_ELEM, unix.NFTA_SET_ELEM_DATA, unix.NFTA_DATA_VALUE} {
		if typ == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			payload = payload[min(4, len(payload)):] // struct nfgenmsg
		}
		payload = attribute(payload, typ)
	}
	return string(payload) == string(want)
}

func attribute(data []byte, wanted uint16) (found []byte) {
	nlsock.Attrs(data, func(typ uint16, value []byte) {
		if typ == wanted {
			found = value
		}
	})
	return found
}

// checkChains finds a chain that lacks a rule: their number, and that of the
// jumps to it, is part of what the kernel says of it (its use count).
func checkChains(c *nlsock.Conn, family uint8, chains []chainDef) error {
	b := new(nftBatch)
	for i := range chains {
		b.message(unix.NFT_MSG_GETCHAIN, 0, family, "read nftables chain "+chains[i].name)
		b.String(unix.NFTA_CHAIN_TABLE, table)
		b.String(unix.NFTA_CHAIN_NAME, chains[i].name)
	}
	whole := make([]bool, len(chains))
	if _, err := c.Do(&b.Batch, func(i int, _ uint16, payload []byte) {
		use := attribute(payload[min(4, len(payload)):], unix.NFTA_CHAIN_USE)
		whole[i] = len(use) == 4 && int(binary.BigEndian.Uint32(use)) >= len(chains[i].rules)+jumpsTo(chains, chains[i].name)
	}); err != nil {
		return err
	}
	for i, ok := range whole {
		if !ok {
			return fmt.Errorf("rules of chain %s: %w", chains[i].name, ErrMissing)
		}
	}
	return nil
}

func jumpsTo(chains []chainDef, name string) (n int) {
	for i := range chains {
		for _, r := range chains[i].rules {
			for _, e := range r.what {
				if v, ok := e.(*expr.Verdict); ok && v.Chain == name {
					n++
				}
			}
		}
	}
	return n
}

// Rebuild replaces both tables and all elements in one transaction.
func (f NFTables) Rebuild(all []Attachment) error {
	var elements []element
	guard := false
	for i := range all {
		n, e := &all[i].Network, &all[i].Endpoint
		elements = append(elements, networkElements(n)...)
		elements = append(elements, endpointElements(n, e)...)
		guard = guard || e.Port != ""
	}
	b := newNFTBatch()
	b.replaceTable(unix.NFPROTO_INET)
	if err := b.fillTable(unix.NFPROTO_INET, inetSets, inetChains()); err != nil {
		return err
	}
	if guard {
		b.replaceTable(unix.NFPROTO_BRIDGE)
		if err := b.fillTable(unix.NFPROTO_BRIDGE, bridgeSets, bridgeChains()); err != nil {
			return err
		}
	}
	for i := range elements {
		b.element(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, &elements[i])
	}
	if err := b.commit(); err != nil {
		return fmt.Errorf("rebuild firewall: %w", busy(err))
	}
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	for i := range all {
		if n, e := &all[i].Network, &all[i].Endpoint; e.strict() {
			errs = append(errs, addLoop(c, n, e))
		}
	}
	for _, bridge := range bridgesOf(all) {
		errs = append(errs, letPass(c, throughBridge(bridge)))
	}
	return errors.Join(errs...)
}

func bridgesOf(all []Attachment) (names []string) {
	for i := range all {
		if name := all[i].Network.Bridge; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
