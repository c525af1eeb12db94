package nettest

import (
	"net"
	"net/netip"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// AdvertiseRouter sends a router advertisement (RFC 4861 section 4.2) out of
// a device of the host: it claims to be the default router for half an hour,
// and that addresses may be made from prefix (a /64).
func (h *Host) AdvertiseRouter(device string, prefix netip.Prefix) {
	h.t.Helper()
	if err := h.Do(func() error { return advertise(device, prefix) }); err != nil {
		h.t.Fatalf("%s: advertise a router: %v", h.Name, err)
	}
}

func advertise(device string, prefix netip.Prefix) error {
	conn, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return err
	}
	defer conn.Close()
	// Receivers drop what a router may have forwarded.
	if err := conn.IPv6PacketConn().SetMulticastHopLimit(255); err != nil {
		return err
	}
	msg := icmp.Message{Type: ipv6.ICMPTypeRouterAdvertisement, Body: &icmp.RawBody{Data: advertisement(prefix)}}
	raw, err := msg.Marshal(nil) // the kernel fills in the checksum
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(raw, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: device})
	return err
}

// advertisement is the message after its checksum, with a prefix information
// option (RFC 4861 section 4.6.2) that is on-link and for autoconfiguration.
func advertisement(prefix netip.Prefix) []byte {
	const lifetime = "\x00\x00\x07\x08" // 1,800 s
	data := []byte{64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	data = append(data, 3, 4, byte(prefix.Bits()), 0xc0)
	data = append(data, lifetime+lifetime+"\x00\x00\x00\x00"...)
	return append(data, prefix.Masked().Addr().AsSlice()...)
}
