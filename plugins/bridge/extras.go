package bridge

import (
	"fmt"
	"time"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// settleTimeout bounds duplicate address detection, which takes a second.
const settleTimeout = 10 * time.Second

// settle waits until no address of the device is tentative any more.
func settle(c *netdev.Conn, index int) error {
	deadline := time.Now().Add(settleTimeout)
	for {
		addrs, err := c.Addrs(index)
		if err != nil {
			return err
		}
		tentative := false
		for _, a := range addrs {
			if a.Failed {
				return plugins.Errorf(plugins.CodeInternal, "enabledad: %s is used by another host of the network", a.Prefix.Addr())
			}
			tentative = tentative || a.Tentative
		}
		if !tentative {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("enabledad: addresses are still tentative after %v", settleTimeout)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// limit shapes both directions: what leaves the host's end is what the
// container receives, what leaves its own end is what it sends.
func (w *wiring) limit() error {
	bw := w.req.Runtime.Bandwidth
	if bw == nil {
		return nil
	}
	if bw.IngressRate > 0 {
		h, err := netdev.Here()
		if err != nil {
			return err
		}
		defer h.Close()
		if err := h.Shape(w.a.Record.HostIfName, bw.IngressRate, bw.IngressBurst); err != nil {
			return err
		}
	}
	if bw.EgressRate == 0 {
		return nil
	}
	return w.a.Container.Do(func() error {
		h, err := netdev.Here()
		if err != nil {
			return err
		}
		defer h.Close()
		return h.Shape(w.req.IfName, bw.EgressRate, bw.EgressBurst)
	})
}
