package netdev

import (
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// IngressFilter is a BPF program for what comes in by a device, and its
// verdict (tc-bpf(8), direct action). It goes with the device.
type IngressFilter struct {
	Priority uint16 // tells the filters of one device apart; the lowest comes first
	Classic  []byte // a program of struct sock_filter, or
	Program  int    // the file descriptor of one that has been loaded, and
	Name     string // what it is called
}

// AddIngressFilter gives a device a filter in place of one of that priority.
func (b *Batch) AddIngressFilter(index int, f *IngressFilter) {
	b.Message(unix.RTM_NEWQDISC, unix.NLM_F_CREATE, "give a port a clsact qdisc")
	tcHeader(&b.Batch, index, 0xffff0000, tcClsact, 0)
	b.String(unix.TCA_KIND, "clsact")
	b.Message(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE, "give a port a filter")
	b.filterHeader(index, f.Priority)
	options := b.Nest(unix.TCA_OPTIONS)
	if f.Classic != nil {
		b.Uint16(tcaBPFOpsLen, uint16(len(f.Classic)/unix.SizeofSockFilter))
		b.Bytes(tcaBPFOps, f.Classic)
	} else {
		b.Uint32(tcaBPFFD, uint32(f.Program))
		b.String(tcaBPFName, f.Name)
	}
	b.Uint32(tcaBPFFlags, tcaBPFActDirect)
	b.End(options)
}

// IngressFilter reads the filter of a priority: its classic program or its
// name. A device without one has neither.
func (c *Conn) IngressFilter(index int, priority uint16) (*IngressFilter, error) {
	b := new(Batch)
	b.Message(unix.RTM_GETTFILTER, 0, "read a port's filter")
	b.filterHeader(index, priority)
	f := &IngressFilter{Priority: priority}
	_, err := c.sock.Do(&b.Batch, func(_ int, _ uint16, payload []byte) {
		nlsock.Attrs(payload[min(tcHeaderLen, len(payload)):], func(typ uint16, options []byte) {
			if typ == unix.TCA_OPTIONS {
				f.decode(options)
			}
		})
	})
	return f, err
}

func (f *IngressFilter) decode(options []byte) {
	nlsock.Attrs(options, func(typ uint16, value []byte) {
		switch typ {
		case tcaBPFOps:
			f.Classic = append([]byte(nil), value...)
		case tcaBPFName:
			f.Name = unix.ByteSliceToString(value)
		}
	})
}

// include/uapi/linux/pkt_sched.h, pkt_cls.h.
const (
	tcClsact        = 0xfffffff1
	tcClsactIngress = 0xfffffff2
	tcaBPFOpsLen    = 4
	tcaBPFOps       = 5
	tcaBPFFD        = 6
	tcaBPFName      = 7
	tcaBPFFlags     = 8
	tcaBPFActDirect = 1

	tcHeaderLen = 20
)

// filterHeader asks for every protocol (ETH_P_ALL, big-endian).
func (b *Batch) filterHeader(index int, priority uint16) {
	tcHeader(&b.Batch, index, 1, tcClsactIngress, uint32(priority)<<16|0x0300)
	b.String(unix.TCA_KIND, "bpf")
}

// tcHeader is struct tcmsg.
func tcHeader(b *nlsock.Batch, index int, handle, parent, info uint32) {
	b.U32(unix.AF_UNSPEC)
	b.U32(uint32(index))
	b.U32(handle)
	b.U32(parent)
	b.U32(info)
}
