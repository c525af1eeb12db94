package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// firewalld has a base chain of its own that rejects, at its end, what no
// zone accepts. Its table, and the chain that sends each device to its zone,
// are named in its src/firewall/core/nftables.py.
const (
	firewalldTable = "firewalld"
	firewalldChain = "filter_FORWARD"
	firewalldZones = "filter_FORWARD_ZONES"
)

// trust puts a bridge that is in no zone into firewalld's trusted one, for as
// long as firewalld runs: its permanent configuration is the administrator's.
// A zone that the bridge is in already is the administrator's choice.
func trust(c *nlsock.Conn, bridge string) error {
	zoned, err := inZone(c, bridge)
	if err != nil || zoned {
		return err
	}
	return firewallCmd("--zone=trusted", "--add-interface="+bridge)
}

// passBeside is letPass for the iptables backend. Its own accepts are final in
// the tables that it writes to, but neither in those of iptables-legacy, where
// it is not that tool itself, nor in firewalld's.
func passBeside(bridges ...string) error {
	if probeNFTables() != nil {
		return nil // all rules are then in the tables that it writes to
	}
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	firewalld, err := hasFirewalld(c)
	if err != nil {
		return err
	}
	var errs []error
	for _, bridge := range bridges {
		errs = append(errs, legacyPass(throughBridge(bridge)))
		if firewalld {
			errs = append(errs, trust(c, bridge))
		}
	}
	return errors.Join(errs...)
}

func hasFirewalld(c *nlsock.Conn) (there bool, err error) {
	b := new(nftBatch)
	b.readChain(firewalldTable, firewalldChain, unix.NFPROTO_INET)
	_, err = c.Do(&b.Batch, func(int, uint16, []byte) { there = true })
	return there, err
}

// passAround lets copies leave for the loops. iptables has no accept of its
// own for them.
func passAround() error {
	if probeNFTables() != nil {
		return legacyPass(aroundLoop)
	}
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	return letPass(c, aroundLoop)
}

// distrust undoes trust. A bridge in another zone stays there.
func distrust(c *nlsock.Conn, bridge string) error {
	zoned, err := inZone(c, bridge)
	if err != nil || !zoned || exec.Command("firewall-cmd", "--zone=trusted", "--query-interface="+bridge).Run() != nil {
		return err
	}
	return firewallCmd("--zone=trusted", "--remove-interface="+bridge)
}

func firewallCmd(args ...string) error {
	out, err := exec.Command("firewall-cmd", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("firewall-cmd %q: %w: %s", args, err, bytes.TrimSpace(out))
	}
	return nil
}

// inZone looks for the bridge among the devices that have a zone.
func inZone(c *nlsock.Conn, bridge string) (zoned bool, err error) {
	b := new(nftBatch)
	b.message(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, unix.NFPROTO_INET, "read zones of firewalld")
	b.String(unix.NFTA_RULE_TABLE, firewalldTable)
	b.String(unix.NFTA_RULE_CHAIN, firewalldZones)
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, bridge)
	_, err = c.Do(&b.Batch, func(_ int, _ uint16, payload []byte) {
		zoned = zoned || bytes.Contains(payload, name)
	})
	return zoned, err
}
