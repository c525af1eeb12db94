package attach

import (
	"fmt"
	"net"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/state"
)

// oddBucket holds the segments on which a container has had another hardware
// address than that of its IP address.
var oddBucket = []byte("segments with odd MACs")

// MAC is the hardware address for the container's device: the one that was
// asked for or, on a Segment, that of the container's first IP address. So
// whoever has the IP address has the MAC too that the others of the segment
// know it by, and need not be told. Where a probe may exchange the address it
// is the container's own: two would have the MAC of one address.
func (a *Attachment) MAC() (net.HardwareAddr, error) {
	switch {
	case a.req.MAC() != nil:
		return a.req.MAC(), nil
	case a.segment == "" || len(a.Addresses) == 0 || a.Probes():
		return netdev.StableMAC(a.req.Name, a.req.ContainerID, a.req.IfName)
	}
	return netdev.StableMAC("segment "+a.segment, "", a.Addresses[0].Prefix.Addr().String())
}

// Expected tells whether nobody of the segment can know one of the addresses
// by another MAC: there is only the one that the MAC belongs to, and nobody on
// the segment has asked for a MAC since the host started.
func (a *Attachment) Expected() bool { return a.expected }

// expect is the part of Begin's transaction that finds that out.
func (a *Attachment) expect(tx *state.Tx) error {
	a.expected = false
	if a.segment == "" {
		return nil
	}
	// A probe may give the device another address than it was made for.
	odd := a.req.MAC() != nil || a.IPAM == nil || !a.IPAM.Embedded() || a.IPAM.Probe
	if odd {
		b, err := tx.CreateBucketIfNotExists(oddBucket)
		if err == nil && b.Get([]byte(a.segment)) == nil {
			err = b.Put([]byte(a.segment), []byte{1})
		}
		if err != nil {
			return fmt.Errorf("record MAC of %s: %w", a.Record.Key, err)
		}
		return nil
	}
	b := tx.Bucket(oddBucket)
	// What a killed Add has made, and told whom, is not known.
	a.expected = a.Stale == nil && len(a.Addresses) == 1 && (b == nil || b.Get([]byte(a.segment)) == nil)
	return nil
}
