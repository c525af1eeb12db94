package netdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// ErrAddressTaken says that another machine of the segment has an address; the
// error is a *TakenError.
var ErrAddressTaken = errors.New("address is in use on the segment")

// TakenError tells which machine has which address.
type TakenError struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%v: %s answers for %s", ErrAddressTaken, e.MAC, e.Addr)
}

// Is tells that it is ErrAddressTaken.
func (e *TakenError) Is(target error) bool { return target == ErrAddressTaken }

// The first wait of RFC 5227 is a second and more, for segments whose
// switches are slow to forward; an Add waits for a third of one.
const (
	probes    = 3
	probeWait = 110 * time.Millisecond
)

// Probe asks the segment whether anybody has one of the addresses, by ARP
// probes (RFC 5227 section 2.1.1) and neighbour solicitations from the
// unspecified address (RFC 4862 section 5.4). The device must be of the
// calling thread's namespace and up, and must not have the addresses yet. It
// fails with ErrAddressTaken and the hardware address of who answered.
func Probe(dev *Device, addrs []netip.Prefix) error {
	if len(addrs) == 0 || len(dev.MAC) != etherAddrLen {
		return nil
	}
	fd, err := listen(dev.Index)
	if err != nil {
		return fmt.Errorf("probe addresses of %s: %w", dev.Name, err)
	}
	defer unix.Close(fd)
	for range probes {
		err := ask(fd, dev.MAC, addrs)
		if err == nil {
			err = awaitOwner(fd, dev.MAC, addrs, time.Now().Add(probeWait))
		}
		if err != nil {
			return fmt.Errorf("probe addresses of %s: %w", dev.Name, err)
		}
	}
	return nil
}

func ask(fd int, mac net.HardwareAddr, addrs []netip.Prefix) error {
	for _, p := range addrs {
		if err := unix.Send(fd, probe(mac, p.Addr()), 0); err != nil && !lost(err) {
			return fmt.Errorf("send probe: %w", err)
		}
	}
	return nil
}

// listen opens a socket that receives every frame of a device.
func listen(ifindex int) (int, error) {
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: ifindex}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind packet socket: %w", err)
	}
	return fd, nil
}

func awaitOwner(fd int, own net.HardwareAddr, addrs []netip.Prefix, until time.Time) error {
	frame := make([]byte, 2048)
	for {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n == 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("await answer: %w", err)
		}
		if n, _, err = unix.Recvfrom(fd, frame, unix.MSG_DONTWAIT); err != nil {
			if lost(err) || errors.Is(err, unix.EINTR) {
				continue
			}
			return fmt.Errorf("read answer: %w", err)
		}
		owner, mac := claim(frame[:n])
		for _, p := range addrs {
			if owner == p.Addr() && !bytes.Equal(mac, own) {
				return &TakenError{owner, bytes.Clone(mac)}
			}
		}
	}
}

// claim is the address that a frame's sender says is its own: ARP's sender,
// the target of a neighbour advertisement. Invalid for anything else.
func claim(f []byte) (netip.Addr, net.HardwareAddr) {
	if len(f) < etherHdrLen {
		return netip.Addr{}, nil
	}
	body, mac := f[etherHdrLen:], net.HardwareAddr(f[etherAddrLen:2*etherAddrLen])
	switch binary.BigEndian.Uint16(f[2*etherAddrLen:]) {
	case unix.ETH_P_ARP:
		if len(body) >= 18 && body[4] == etherAddrLen && body[5] == 4 {
			return netip.AddrFrom4([4]byte(body[14:18])), net.HardwareAddr(body[8:14])
		}
	case unix.ETH_P_IPV6:
		if len(body) >= ipv6HdrLen+24 && body[6] == unix.IPPROTO_ICMPV6 && body[ipv6HdrLen] == icmpv6NA {
			return netip.AddrFrom16([16]byte(body[ipv6HdrLen+8 : ipv6HdrLen+24])), mac
		}
	}
	return netip.Addr{}, nil
}

// probe is the whole Ethernet frame that asks for one address.
func probe(mac net.HardwareAddr, addr netip.Addr) []byte {
	if addr.Is4() {
		f := gratuitousARP(mac, addr.As4())
		copy(f[etherHdrLen+14:], make([]byte, 4)) // the sender has no address yet
		return f
	}
	return solicitation(mac, addr.As16())
}

const icmpv6NS = 135

// solicitation goes from :: to the solicited-node group (RFC 4291 section 2.7.1).
func solicitation(mac net.HardwareAddr, addr [16]byte) []byte {
	group := [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: addr[13], 14: addr[14], 15: addr[15]}
	ns := append([]byte{icmpv6NS, 0, 0, 0, 0, 0, 0, 0}, addr[:]...)
	binary.BigEndian.PutUint16(ns[2:], icmpv6Checksum([16]byte{}, group, ns))
	f := etherHeader(net.HardwareAddr{0x33, 0x33, group[12], group[13], group[14], group[15]}, mac, unix.ETH_P_IPV6)
	f = append(f, 6<<4, 0, 0, 0, 0, byte(len(ns)), unix.IPPROTO_ICMPV6, 255)
	f = append(f, make([]byte, 16)...)
	f = append(f, group[:]...)
	return append(f, ns...)
}
