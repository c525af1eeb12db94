package firewall

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// admittedIPSet is the set of whom INPUT has let in, for the rules of
// iptables: pairs of a client and a port.
func admittedIPSet(is4 bool) string {
	if is4 {
		return "berth-admitted4"
	}
	return "berth-admitted6"
}

// Attributes and commands of include/uapi/linux/netfilter/ipset/ip_set.h.
const (
	ipsetProtocol = 6
	ipsetCreate   = 2
	ipsetDestroy  = 3

	ipsetAttrProtocol = 1
	ipsetAttrSetName  = 2
	ipsetAttrTypeName = 3
	ipsetAttrRevision = 4
	ipsetAttrFamily   = 5
	ipsetAttrData     = 7
	ipsetAttrTimeout  = 6 // inside the data

	ipsetNoType = unix.Errno(4099) // IPSET_ERR_FIND_TYPE
	ipsetBusy   = unix.Errno(4101) // IPSET_ERR_BUSY
)

// createIPSets makes the sets of both families. One that is there is success.
func createIPSets() error {
	for _, is4 := range []bool{true, false} {
		b := new(nlsock.Batch)
		ipsetMessage(b, ipsetCreate, is4)
		b.String(ipsetAttrTypeName, "hash:ip,port")
		b.Uint8(ipsetAttrRevision, 1) // the first with SCTP
		b.Uint8(ipsetAttrFamily, nfproto(is4))
		data := b.Nest(ipsetAttrData)
		b.BE32(ipsetAttrTimeout|unix.NLA_F_NET_BYTEORDER, uint32(admittedIPT.Seconds()))
		b.End(data)
		err := doIPSet(b)
		if absent(err) != nil || errors.Is(err, ipsetNoType) {
			return fmt.Errorf("strictPublish: %w: the kernel has no such set (CONFIG_IP_SET_HASH_IPPORT): %w", ErrUnsupported, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// destroyIPSets removes them. None, or one that a rule still names, is success.
func destroyIPSets() error {
	var errs []error
	for _, is4 := range []bool{true, false} {
		b := new(nlsock.Batch)
		ipsetMessage(b, ipsetDestroy, is4)
		if err := doIPSet(b); !errors.Is(err, unix.ENOENT) && !errors.Is(err, ipsetBusy) && absent(err) == nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func ipsetMessage(b *nlsock.Batch, command uint16, is4 bool) {
	b.Message(unix.NFNL_SUBSYS_IPSET<<8|command, 0, "ipset "+admittedIPSet(is4))
	b.U8(nfproto(is4)) // struct nfgenmsg
	b.U8(unix.NFNETLINK_V0)
	b.U16(0)
	b.Uint8(ipsetAttrProtocol, ipsetProtocol)
	b.String(ipsetAttrSetName, admittedIPSet(is4))
}

func doIPSet(b *nlsock.Batch) error {
	c, err := nlsock.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	failed, err := c.Do(b, nil)
	if len(failed) > 0 {
		return failed[0]
	}
	return err
}

func nfproto(is4 bool) uint8 {
	if is4 {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}
