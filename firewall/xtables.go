package firewall

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacyTable is the filter table of iptables-legacy as the kernel has it,
// read without its tool.
type legacyTable struct {
	drops   bool   // the policy of FORWARD
	entries []byte // struct ipt_entry or ip6t_entry, one behind the other
}

// xtables is where a family keeps what: the socket that tells (ip_tables.h,
// ip6_tables.h), and the lengths of an address part and of an entry's head.
type xtables struct {
	file                   string // of the names of its tables
	domain, level          int
	targetOffset, entryLen int
}

var xtablesOf = map[uint8]xtables{
	unix.NFPROTO_IPV4: {"ip_tables_names", unix.AF_INET, unix.SOL_IP, 84 + 4, 112},
	unix.NFPROTO_IPV6: {"ip6_tables_names", unix.AF_INET6, unix.SOL_IPV6, 136 + 4, 168},
}

// xtInfo is struct ipt_getinfo.
type xtInfo struct {
	Name      [32]byte
	Hooks     uint32
	Entry     [5]uint32
	Underflow [5]uint32
	Num, Size uint32
}

const (
	xtGetInfo    = 64 // IPT_SO_GET_INFO
	xtGetEntries = 65 // IPT_SO_GET_ENTRIES
	xtHeadLen    = 40 // struct ipt_get_entries: name, size, and padding to eight

	xtDrop = -1 // -NF_DROP - 1
)

// readLegacy is nil where the table is not there; to ask for it would make it.
func readLegacy(family uint8) (*legacyTable, error) {
	x := xtablesOf[family]
	names, err := os.ReadFile("/proc/thread-self/net/" + x.file)
	if err != nil || !slices.Contains(strings.Fields(string(names)), "filter") {
		return nil, nil // a kernel without legacy tables says so by the file's absence
	}
	fd, err := unix.Socket(x.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("read legacy filter table: %w", err)
	}
	defer unix.Close(fd)
	var t *legacyTable
	for range 10 {
		// Rules may come between its two questions; the kernel says EAGAIN.
		if t, err = x.read(fd); err != unix.EAGAIN {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read legacy filter table: %w", err)
	}
	return t, nil
}

func (x *xtables) read(fd int) (*legacyTable, error) {
	info := xtInfo{Name: [32]byte([]byte("filter" + strings.Repeat("\x00", 26)))}
	if err := getsockopt(fd, x.level, xtGetInfo, unsafe.Pointer(&info), unsafe.Sizeof(info)); err != nil {
		return nil, err
	}
	blob := make([]byte, xtHeadLen+info.Size)
	copy(blob, info.Name[:])
	binary.NativeEndian.PutUint32(blob[32:], info.Size)
	if err := getsockopt(fd, x.level, xtGetEntries, unsafe.Pointer(&blob[0]), uintptr(len(blob))); err != nil {
		return nil, err
	}
	t := &legacyTable{entries: blob[xtHeadLen:]}
	t.drops = x.verdict(t.entries, int(info.Underflow[unix.NF_INET_FORWARD])) == xtDrop
	return t, nil
}

// verdict is that of the entry at an offset, whose target is a standard one: a
// policy. The target's data stands behind its head of 32 bytes.
func (x *xtables) verdict(entries []byte, offset int) int32 {
	if offset < 0 || offset+x.entryLen > len(entries) {
		return 0
	}
	target := offset + int(binary.NativeEndian.Uint16(entries[offset+x.targetOffset:])) + 32
	if target+4 > len(entries) {
		return 0
	}
	return int32(binary.NativeEndian.Uint32(entries[target:]))
}

// getsockopt asks for what unix has no type for.
func getsockopt(fd, level, option int, value unsafe.Pointer, length uintptr) error {
	size := uint32(length)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(value), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
