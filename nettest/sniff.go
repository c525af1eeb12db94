package nettest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Sniffer records the frames that cross one device, in both directions.
type Sniffer struct {
	h    *Host
	file *os.File
	name string

	mu     sync.Mutex
	frames []Frame
	marks  uint32
	seen   uint32
}

const receiveBuffer = 16 << 20

// etherMark is IEEE 802's first local experimental EtherType. Frames with it
// are the sniffer's own and are not recorded.
const etherMark = 0x88b5

// Sniff begins to record what crosses the device; it ends with the test.
func (h *Host) Sniff(device string) *Sniffer {
	h.t.Helper()
	s := &Sniffer{h: h, name: device}
	if err := h.Do(s.open); err != nil {
		h.t.Fatalf("%s: sniff %s: %v", h.Name, device, err)
	}
	go s.record()
	h.t.Cleanup(func() { s.file.Close() })
	return s
}

func (s *Sniffer) open() error {
	link, err := net.InterfaceByName(s.name)
	if err != nil {
		return err
	}
	// Protocol 0: nothing arrives before the socket is bound to its device.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	promiscuous := unix.PacketMreq{Ifindex: int32(link.Index), Type: unix.PACKET_MR_PROMISC}
	// Without root the buffer is as large as net.core.rmem_max lets it be.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	err = errors.Join(
		err,
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promiscuous),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: link.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return err
	}
	s.file = os.NewFile(uintptr(fd), "packet:"+s.name)
	return nil
}

func (s *Sniffer) record() {
	buf := make([]byte, 1<<16)
	for {
		n, err := s.file.Read(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // told once each time the device goes down
		}
		if err != nil {
			return
		}
		s.add(Frame(append([]byte(nil), buf[:n]...)))
	}
}

func (s *Sniffer) add(f Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.EtherType() == etherMark {
		s.seen = max(s.seen, binary.BigEndian.Uint32(f.Payload()))
		return
	}
	s.frames = append(s.frames, f)
}

// Frames is everything that has crossed the device before this call: a frame
// that is not among them has not been sent. To know that, it sends a frame of
// its own (EtherType 0x88b5) out of the device and waits until it sees it.
func (s *Sniffer) Frames() []Frame {
	s.h.t.Helper()
	s.mu.Lock()
	s.marks++
	mark := s.marks
	s.mu.Unlock()
	// From another socket: one does not receive what it sent itself.
	s.h.Inject(s.name, markFrame(mark))
	Eventually(s.h.t, "the sniffer's own frame on "+s.name, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.seen < mark {
			return errors.New("not seen")
		}
		return nil
	})
	if err := s.lost(); err != nil {
		s.h.t.Fatalf("%s: sniff %s: %v", s.h.Name, s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Frame(nil), s.frames...)
}

// lost is an error where the socket's buffer has overflowed since it was last
// asked: then the absence of a frame proves nothing.
func (s *Sniffer) lost() error {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	var stats *unix.TpacketStats
	cerr := raw.Control(func(fd uintptr) {
		stats, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err = errors.Join(cerr, err); err != nil {
		return err
	}
	if stats.Drops != 0 {
		return fmt.Errorf("%d frames were lost before they were read", stats.Drops)
	}
	return nil
}

func markFrame(mark uint32) []byte {
	f := make([]byte, 60) // the least that Ethernet sends
	f[0], f[6] = 0x02, 0x02
	binary.BigEndian.PutUint16(f[12:], etherMark)
	binary.BigEndian.PutUint32(f[14:], mark)
	return f
}

// Inject sends a frame out of a device, whatever its addresses say.
func (h *Host) Inject(device string, frame []byte) {
	h.t.Helper()
	if err := h.Do(func() error { return send(device, frame) }); err != nil {
		h.t.Fatalf("%s: inject into %s: %v", h.Name, device, err)
	}
}

func send(device string, frame []byte) error {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index})
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
