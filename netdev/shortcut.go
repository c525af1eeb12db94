package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Shortcut takes what a bridge's port sends to the bridge itself (TCP, UDP,
// SCTP and fragments, from the port's own MAC) out of the bridge's hands: it is
// received by the bridge's device at once, as it would be a moment later, but
// br_netfilter does not see it. That one translates packets while they are
// bridged, where a translated packet cannot always get to where it should
// (docs/adr/0115).
type Shortcut struct {
	Port   int              // index
	MAC    net.HardwareAddr // of who is behind the port
	Bridge *Device
}

// ErrNoShortcut says that the kernel loads no program for one, or not for this
// process: that needs CAP_BPF or CAP_SYS_ADMIN in the first user namespace.
var ErrNoShortcut = errors.New("the kernel loads no BPF program (CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF, CAP_BPF)")

// shortcutPriority is behind the guard of package firewall (48), which is to
// see everything.
const shortcutPriority = 49

// AddShortcut makes it, in place of an earlier one. It goes with the port. The
// bridge learns nothing of what it does not see, so it is told the port's MAC:
// it would else send what is for the port to every other one as well.
func (c *Conn) AddShortcut(s *Shortcut) error {
	program, err := loadProgram("berth_shortcut", s.program())
	if err != nil {
		return err
	}
	defer unix.Close(program) // the filter holds it
	b := new(Batch)
	b.staticMAC(s.Port, s.MAC)
	b.AddIngressFilter(s.Port, &IngressFilter{Priority: shortcutPriority, Program: program, Name: s.name()})
	err = c.Do(b)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %w", ErrNoShortcut, err)
	}
	return err
}

// CheckShortcut fails with ErrNotFound where the port has not this one. Where
// it could not have it, that is ErrNoShortcut as well.
func (c *Conn) CheckShortcut(s *Shortcut) error {
	f, err := c.IngressFilter(s.Port, shortcutPriority)
	if err != nil {
		return err
	}
	if f.Name == s.name() {
		return c.checkStaticMAC(s)
	}
	program, err := loadProgram("berth_shortcut", s.program())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return errors.Join(ErrNotFound, unix.Close(program))
}

// name says all that the program knows.
func (s *Shortcut) name() string {
	return fmt.Sprintf("berth: %s to %s at %d", s.MAC, s.Bridge.MAC, s.Bridge.Index)
}

// staticMAC tells a bridge which of its ports has the MAC.
func (b *Batch) staticMAC(port int, mac net.HardwareAddr) {
	b.Message(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, "tell the bridge where "+mac.String()+" is")
	b.U8(unix.AF_BRIDGE) // struct ndmsg
	b.Zeros(3)
	b.U32(uint32(port))
	b.U16(unix.NUD_NOARP)
	b.U8(unix.NTF_MASTER)
	b.U8(0)
	b.Bytes(unix.NDA_LLADDR, mac)
}

// checkStaticMAC fails with ErrNotFound where the bridge has the MAC at another
// port, has learned it only, or does not know it.
func (c *Conn) checkStaticMAC(s *Shortcut) error {
	b := new(Batch)
	b.Message(unix.RTM_GETNEIGH, 0, "read where "+s.MAC.String()+" is")
	b.U8(unix.AF_BRIDGE) // struct ndmsg
	b.Zeros(3)
	b.U32(0)
	b.U16(0)
	b.U8(unix.NTF_MASTER)
	b.U8(0)
	b.Bytes(unix.NDA_LLADDR, s.MAC)
	b.Uint32(unix.NDA_MASTER, uint32(s.Bridge.Index))
	static := false
	if _, err := c.sock.Do(&b.Batch, func(_ int, _ uint16, payload []byte) {
		static = static || len(payload) >= 12 && int(binary.NativeEndian.Uint32(payload[4:])) == s.Port &&
			binary.NativeEndian.Uint16(payload[8:])&unix.NUD_NOARP != 0
	}); err != nil || static {
		return err
	}
	return fmt.Errorf("static entry of %s: %w", s.MAC, ErrNotFound)
}

// Offsets into a frame and into struct __sk_buff (include/uapi/linux/bpf.h).
const (
	frameSource   = 6
	frameType     = 12
	frameIP4Proto = 14 + 9
	frameIP6Next  = 14 + 6
	skbVLAN       = 20 // vlan_present
)

// program is the filter: -1 (TC_ACT_UNSPEC) leaves a frame to the bridge.
func (s *Shortcut) program() []byte {
	const redirect, ingress = 23, 1 // bpf_redirect, BPF_F_INGRESS
	p := new(program)
	p.add(bpfMove, 6, 1, 0) // loads of the frame want the context there
	for i := 0; i < 6; i += 2 {
		p.add(bpfLoad16, 0, 0, int32(i))
		p.leave(bpfUnless, int32(binary.BigEndian.Uint16(s.Bridge.MAC[i:])))
		p.add(bpfLoad16, 0, 0, int32(frameSource+i))
		p.leave(bpfUnless, int32(binary.BigEndian.Uint16(s.MAC[i:])))
	}
	p.addAt(bpfField, 0, 6, skbVLAN)
	p.leave(bpfUnless, 0)
	p.add(bpfLoad16, 0, 0, frameType)
	p.jump(bpfIf, unix.ETH_P_IP, 3)
	p.leave(bpfUnless, unix.ETH_P_IPV6)
	p.add(bpfLoad8, 0, 0, frameIP6Next)
	p.jump(bpfJump, 0, 1)
	p.add(bpfLoad8, 0, 0, frameIP4Proto)
	p.jump(bpfIf, unix.IPPROTO_TCP, 3)
	p.jump(bpfIf, unix.IPPROTO_UDP, 2)
	p.jump(bpfIf, unix.IPPROTO_SCTP, 1)
	p.leave(bpfUnless, unix.IPPROTO_FRAGMENT)
	p.add(bpfSet, 1, 0, int32(s.Bridge.Index))
	p.add(bpfSet, 2, 0, ingress)
	p.add(bpfCall, 0, 0, redirect)
	p.add(bpfExit, 0, 0, 0)
	return p.end()
}

// Operations, by their codes (Documentation/bpf/standardization/instruction-set.rst).
const (
	bpfMove   = 0xbf
	bpfSet    = 0xb7
	bpfLoad16 = 0x28
	bpfLoad8  = 0x30
	bpfField  = 0x61
	bpfIf     = 0x15
	bpfUnless = 0x55
	bpfJump   = 0x05
	bpfCall   = 0x85
	bpfExit   = 0x95
)

// program is one under construction.
type program struct {
	code   []byte
	leaves []int // offsets of the jumps to its end
}

const instructionLen = 8 // struct bpf_insn

func (p *program) add(op, dst, src byte, value int32) {
	p.emit(op, dst, src, 0, value)
}

func (p *program) addAt(op, dst, src byte, offset int16) {
	p.emit(op, dst, src, offset, 0)
}

// jump skips instructions, by what register 0 holds.
func (p *program) jump(op byte, value int32, skip int16) {
	p.emit(op, 0, 0, skip, value)
}

// leave is a jump to the end.
func (p *program) leave(op byte, value int32) {
	p.leaves = append(p.leaves, len(p.code))
	p.jump(op, value, 0)
}

// emit packs the registers as bit fields, whose order is that of the machine.
func (p *program) emit(op, dst, src byte, offset int16, value int32) {
	registers := src<<4 | dst
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		registers = dst<<4 | src
	}
	p.code = append(p.code, op, registers)
	p.code = binary.NativeEndian.AppendUint16(p.code, uint16(offset))
	p.code = binary.NativeEndian.AppendUint32(p.code, uint32(value))
}

// end leaves the frame alone.
func (p *program) end() []byte {
	for _, at := range p.leaves {
		binary.NativeEndian.PutUint16(p.code[at+2:], uint16((len(p.code)-at)/instructionLen-1))
	}
	p.add(bpfSet, 0, 0, -1)
	p.add(bpfExit, 0, 0, 0)
	return p.code
}

// loadProgram loads a classifier (BPF_PROG_LOAD, bpf(2)) and returns its file
// descriptor.
func loadProgram(name string, code []byte) (int, error) {
	license := []byte("Apache-2.0\x00")
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pinned.Pin(&code[0])
	pinned.Pin(&license[0])
	attr := struct {
		kind, count   uint32
		code, license uint64
		log           [2]uint32
		logBuffer     uint64
		version       uint32
		flags         uint32
		name          [16]byte
	}{
		kind: unix.BPF_PROG_TYPE_SCHED_CLS, count: uint32(len(code) / instructionLen),
		code: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	copy(attr.name[:len(attr.name)-1], name)
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	switch errno {
	case 0:
		return int(fd), nil
	case unix.EPERM, unix.ENOSYS, unix.EINVAL:
		return -1, fmt.Errorf("%w: %w", ErrNoShortcut, errno)
	}
	return -1, fmt.Errorf("load BPF program %s: %w", name, errno)
}
