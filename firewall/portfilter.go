package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netdev/nlsock"
)

// guardPort holds the port to its addresses by a filter on what comes in by
// it, in place of an earlier one. The filter goes with the port.
func guardPort(e *Endpoint) error {
	filter, index, err := portFilter(e)
	if err != nil {
		return err
	}
	c, err := nlsock.Open(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.Close()
	b := new(nlsock.Batch)
	b.Message(unix.RTM_NEWQDISC, unix.NLM_F_CREATE, "give port "+e.Port+" a clsact qdisc")
	tcHeader(b, index, 0xffff0000, tcClsact, 0)
	b.String(unix.TCA_KIND, "clsact")
	b.Message(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE, "give port "+e.Port+" a filter")
	tcHeader(b, index, guardHandle, tcClsactIngress, guardInfo)
	b.String(unix.TCA_KIND, "bpf")
	options := b.Nest(unix.TCA_OPTIONS)
	b.Uint16(tcaBPFOpsLen, uint16(len(filter)/unix.SizeofSockFilter))
	b.Bytes(tcaBPFOps, filter)
	b.Uint32(tcaBPFFlags, tcaBPFActDirect)
	b.End(options)
	failed, err := c.Do(b, nil)
	if len(failed) == 0 {
		return err
	}
	if errors.Is(failed[0], unix.ENOENT) || errors.Is(failed[0], unix.EOPNOTSUPP) {
		return fmt.Errorf("macspoofchk: %w: the kernel has no clsact or bpf filters (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF): %w", ErrUnsupported, failed[0])
	}
	return failed[0]
}

// checkPort fails with ErrMissing where the port has not that very filter.
func checkPort(e *Endpoint) error {
	filter, index, err := portFilter(e)
	if err != nil {
		return err
	}
	c, err := nlsock.Open(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.Close()
	b := new(nlsock.Batch)
	b.Message(unix.RTM_GETTFILTER, 0, "read filter of port "+e.Port)
	tcHeader(b, index, guardHandle, tcClsactIngress, guardInfo)
	b.String(unix.TCA_KIND, "bpf")
	found := false
	if _, err := c.Do(b, func(_ int, _ uint16, payload []byte) {
		options := attribute(payload[min(tcHeaderLen, len(payload)):], unix.TCA_OPTIONS)
		found = string(attribute(options, tcaBPFOps)) == string(filter)
	}); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("guard of port %s: %w", e.Port, ErrMissing)
	}
	return nil
}

// portFilter is the filter as the kernel takes it, and the port's index.
func portFilter(e *Endpoint) (filter []byte, index int, err error) {
	raw, err := bpf.Assemble(guardProgram(e))
	if err != nil {
		return nil, 0, fmt.Errorf("guard port %s: %w", e.Port, err)
	}
	for _, r := range raw { // struct sock_filter
		filter = binary.NativeEndian.AppendUint16(filter, r.Op)
		filter = binary.NativeEndian.AppendUint32(append(filter, r.Jt, r.Jf), r.K)
	}
	c, err := netdev.Dial()
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	dev, err := c.Device(e.Port)
	if err != nil {
		return nil, 0, fmt.Errorf("guard port: %w", err)
	}
	return filter, dev.Index, nil
}

// include/uapi/linux/pkt_sched.h, pkt_cls.h.
const (
	tcClsact        = 0xfffffff1
	tcClsactIngress = 0xfffffff2
	tcaBPFOpsLen    = 4
	tcaBPFOps       = 5
	tcaBPFFlags     = 8
	tcaBPFActDirect = 1

	// guardHandle and guardInfo tell our filter from an administrator's: its
	// priority is 48, for every protocol (ETH_P_ALL, big-endian).
	guardHandle = 1
	guardInfo   = 48<<16 | 0x0300
)

const tcHeaderLen = 20

// tcHeader is struct tcmsg.
func tcHeader(b *nlsock.Batch, index int, handle, parent, info uint32) {
	b.U32(unix.AF_UNSPEC)
	b.U32(uint32(index))
	b.U32(handle)
	b.U32(parent)
	b.U32(info)
}
