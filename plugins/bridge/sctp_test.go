package bridge_test

import (
	"encoding/binary"
	"hash/crc32"

	"golang.org/x/sys/unix"
)

// sendINIT sends the first packet of an SCTP association. Its checksum must
// be right: connection tracking leaves an invalid packet untranslated.
func sendINIT(to [4]byte, from, port uint16) error {
	p := binary.BigEndian.AppendUint16(nil, from)
	p = binary.BigEndian.AppendUint16(p, port)
	p = append(p, 0, 0, 0, 0) // verification tag: none yet
	p = append(p, 0, 0, 0, 0) // checksum
	p = append(p, 1, 0, 0, 20)
	for _, field := range []uint32{0x1234, 65536, 1<<16 | 1, 1} { // tag, window, streams, TSN
		p = binary.BigEndian.AppendUint32(p, field)
	}
	binary.LittleEndian.PutUint32(p[8:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, p, 0, &unix.SockaddrInet4{Addr: to})
}
