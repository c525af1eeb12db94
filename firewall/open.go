package firewall

import (
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// Names of the backends.
const (
	BackendNFTables = "nftables"
	BackendIPTables = "iptables"
)

// ErrBackend says that there is no backend of a name, or none that works on
// this host.
var ErrBackend = errors.New("no such firewall backend")

// Open is the backend of that name: "nftables", "iptables", or "" for the one
// of Default.
func Open(name string) (Firewall, error) { return thisHost.open(name) }

// Default is the name of the backend that "" stands for: nftables, or
// iptables where the kernel has no nftables.
func Default() (string, error) { return thisHost.name() }

// offer is what a host has for packet filters; tests make others.
type offer struct {
	nftables func() error // nil where the kernel has it
	lookPath func(file string) (string, error)
}

var thisHost = offer{probeNFTables, exec.LookPath}

func (o offer) open(name string) (_ Firewall, err error) {
	if name == "" {
		if name, err = o.name(); err != nil {
			return nil, err
		}
	}
	switch name {
	case BackendNFTables:
		return NFTables{}, nil
	case BackendIPTables:
		return IPTables{legacy: o.legacy()}, nil
	}
	return nil, fmt.Errorf("open firewall %q: %w; there are nftables and iptables", name, ErrBackend)
}

func (o offer) name() (string, error) {
	missing := o.nftables()
	if missing == nil {
		return BackendNFTables, nil
	}
	for _, tool := range []string{legacyTool, "iptables"} {
		if _, err := o.lookPath(tool + "-restore"); err == nil {
			return BackendIPTables, nil
		}
	}
	return "", fmt.Errorf("open firewall: %w: the kernel has no nftables (CONFIG_NF_TABLES: %w), and iptables is not installed", ErrBackend, missing)
}

const legacyTool = "iptables-legacy"

// legacy tells whether iptables has to be the one that does without nftables.
func (o offer) legacy() bool {
	if o.nftables() == nil {
		return false
	}
	_, err := o.lookPath(legacyTool + "-restore")
	return err == nil
}

// probeNFTables asks for the ruleset's generation, and so has the kernel load
// its module. Without one, nfnetlink knows no such subsystem (EINVAL,
// nfnetlink_rcv_msg), or is missing itself. Whatever else it says, such as
// that the caller may not ask, is for the first real request to tell.
func probeNFTables() error {
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return absent(err)
	}
	defer c.Close()
	b := new(nftBatch)
	b.message(unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC, "read nftables generation")
	failed, err := c.Do(&b.Batch, nil)
	if err == nil && len(failed) > 0 {
		err = failed[0]
	}
	return absent(err)
}

func absent(err error) error {
	for _, says := range []error{unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, says) {
			return err
		}
	}
	return nil
}
