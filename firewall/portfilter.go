package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
)

// guardPriority tells our filter of a port from an administrator's.
const guardPriority = 48

// guardPort holds the port to its addresses by a filter on what comes in by
// it, in place of an earlier one. The filter goes with the port.
func guardPort(e *Endpoint) error {
	return onPort(e, func(c *netdev.Conn, index int, filter []byte) error {
		b := new(netdev.Batch)
		b.AddIngressFilter(index, &netdev.IngressFilter{Priority: guardPriority, Classic: filter})
		err := c.Do(b)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("macspoofchk: %w: the kernel has no clsact or bpf filters (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF): %w", ErrUnsupported, err)
		}
		return err
	})
}

// checkPort fails with ErrMissing where the port has not that very filter.
func checkPort(e *Endpoint) error {
	return onPort(e, func(c *netdev.Conn, index int, filter []byte) error {
		have, err := c.IngressFilter(index, guardPriority)
		if err == nil && string(have.Classic) != string(filter) {
			err = fmt.Errorf("guard of port %s: %w", e.Port, ErrMissing)
		}
		return err
	})
}

// onPort hands fn the port's index and the filter that it should have, as the
// kernel takes it.
func onPort(e *Endpoint, fn func(c *netdev.Conn, index int, filter []byte) error) error {
	raw, err := bpf.Assemble(guardProgram(e))
	if err != nil {
		return fmt.Errorf("guard port %s: %w", e.Port, err)
	}
	var filter []byte
	for _, r := range raw { // struct sock_filter
		filter = binary.NativeEndian.AppendUint16(filter, r.Op)
		filter = binary.NativeEndian.AppendUint32(append(filter, r.Jt, r.Jf), r.K)
	}
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	dev, err := c.Device(e.Port)
	if err != nil {
		return fmt.Errorf("guard port: %w", err)
	}
	return fn(c, dev.Index, filter)
}
