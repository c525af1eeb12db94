package probe

import (
	"encoding/binary"
	"net"

	"golang.org/x/sys/unix"
)

// Lengths of headers, in bytes. vnetLen is struct virtio_net_hdr of
// linux/virtio_net.h, which a packet socket has before each frame with
// PACKET_VNET_HDR.
const (
	vnetLen = 10
	ethLen  = 14
	ip4Len  = 20
	udpLen  = 8
	tcpLen  = 20
)

// needsChecksum is VIRTIO_NET_HDR_F_NEEDS_CSUM: whoever sends the frame out
// has to fill in the checksum; of a frame that came in, nobody had to yet.
const needsChecksum = 1

// The port and addresses mean nothing to anybody: no host has them, the
// frames are for a MAC that is no device's, and their TTL is 1. The addresses
// are reserved for such use (RFC 7600, section 5.1: 192.0.0.8 is a dummy).
const port = 4790

var dummy = [4]byte{192, 0, 0, 8}

// frame is a message with everything around it, as a packet socket takes it.
func frame(kind Kind, src, dst net.HardwareAddr, m message) []byte {
	payload, header, proto, at := m.encode(), udpLen, byte(unix.IPPROTO_UDP), 6
	if kind == TCP {
		header, proto, at = tcpLen, unix.IPPROTO_TCP, 16
	}
	b := make([]byte, vnetLen, vnetLen+ethLen+ip4Len+header+len(payload))
	b = append(append(append(b, dst...), src...), unix.ETH_P_IP>>8, unix.ETH_P_IP&0xff)
	b = append(b, ip4(proto, header+len(payload))...)
	segment := len(b)
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, port)
	if kind == TCP {
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, tcpLen/4<<4, 0x10, 0, 0, 0, 0, 0, 0) // ACK
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(header+len(payload)))
		b = append(b, 0, 0)
	}
	b = append(b, payload...)
	field := b[segment+at:]
	if kind == Plain {
		binary.BigEndian.PutUint16(field, ^sum(b[segment:], pseudo(proto, len(b)-segment)))
		return b
	}
	// What the kernel's own sockets leave in the field for a device to go on
	// with: the sum of the pseudo header.
	binary.BigEndian.PutUint16(field, sum(nil, pseudo(proto, len(b)-segment)))
	b[0] = needsChecksum
	binary.NativeEndian.PutUint16(b[6:], uint16(segment-vnetLen))
	binary.NativeEndian.PutUint16(b[8:], uint16(at))
	return b
}

func ip4(proto byte, payload int) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 1, proto, 0, 0} // don't fragment
	binary.BigEndian.PutUint16(b[2:], uint16(ip4Len+payload))
	b = append(append(b, dummy[:]...), dummy[:]...)
	binary.BigEndian.PutUint16(b[10:], ^sum(b, 0))
	return b
}

// pseudo is the sum of the pseudo header that the checksums of TCP and UDP
// include (RFC 9293, section 3.1).
func pseudo(proto byte, length int) uint32 {
	return uint32(sum(dummy[:], uint32(sum(dummy[:], uint32(proto)+uint32(length)))))
}

// sum adds up 16-bit words in one's complement (RFC 1071).
func sum(b []byte, start uint32) uint16 {
	total := start
	for i := 0; i+1 < len(b); i += 2 {
		total += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		total += uint32(b[len(b)-1]) << 8
	}
	for total>>16 != 0 {
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

// received is a frame that came in.
type received struct {
	from net.HardwareAddr
	good bool // its checksum is right
	message
}

// open takes a frame apart. Nothing in it is to be trusted.
func open(b []byte) (*received, error) {
	if len(b) < vnetLen+ethLen+ip4Len+udpLen {
		return nil, errNotOurs
	}
	vnet, eth, ip := b[:vnetLen], b[vnetLen:vnetLen+ethLen], b[vnetLen+ethLen:]
	length := int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0] != 0x45 || [4]byte(ip[12:16]) != dummy || length > len(ip) || length < ip4Len+udpLen {
		return nil, errNotOurs
	}
	segment, header := ip[ip4Len:length], udpLen
	if ip[9] == unix.IPPROTO_TCP {
		header = tcpLen
	} else if ip[9] != unix.IPPROTO_UDP {
		return nil, errNotOurs
	}
	if len(segment) < header {
		return nil, errNotOurs
	}
	m, err := decode(segment[header:])
	if err != nil {
		return nil, err
	}
	good := vnet[0]&needsChecksum != 0 || sum(segment, pseudo(ip[9], len(segment))) == 0xffff
	return &received{from: net.HardwareAddr(eth[6:12]), good: good, message: m}, nil
}
