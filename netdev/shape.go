package netdev

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// shapeLatency is how long tbf holds a packet back before it drops it.
const shapeLatency = 0.025

// defaultBurst is enough for a full receive-offload segment, in bytes.
const defaultBurst = 64 << 10

// Shape limits what leaves a device by a token bucket (tc-tbf(8)). Rate is in
// bits per second, burst in bits, 0 for a default.
func (h *Handle) Shape(name string, rate, burst uint64) error {
	link, err := h.Link(name)
	if err != nil {
		return err
	}
	bytes := rate / 8
	burstBytes := burst / 8
	if burstBytes == 0 {
		burstBytes = defaultBurst
	}
	burstBytes = min(burstBytes, 1<<31-1)
	qdisc := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       bytes,
		Limit:      uint32(min(float64(bytes)*shapeLatency+float64(burstBytes), 1<<31-1)),
		Buffer:     uint32(min(float64(burstBytes)/float64(max(bytes, 1))*1e6*netlink.TickInUsec(), 1<<31-1)),
	}
	if err := h.nl.QdiscReplace(qdisc); err != nil {
		return fmt.Errorf("limit %s to %d bit/s: %w", name, rate, err)
	}
	return nil
}

// Missing tells the errors by which the kernel says that an object is not
// there.
func Missing(err error) bool { return missing(err) }
