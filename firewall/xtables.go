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
	xtables
	chains, policies [5]uint32 // by hook: offsets of the first rule and of the policy
	entries          []byte    // struct ipt_entry or ip6t_entry, one behind the other
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

	xtTargetLen = 32 // struct xt_entry_target and xt_entry_match, without data
	xtDrop      = -1 // -NF_DROP - 1
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
	return &legacyTable{*x, info.Entry, info.Underflow, blob[xtHeadLen:]}, nil
}

// isDeadEnd tells whether the chain of a hook lets nothing pass that no rule
// accepts: its policy is to drop, or a rule without a condition drops or
// rejects; or, where some packets matter, any rule. Conditions of a rule's head
// are all zero where there is none; the target's name and data stand behind the
// matches.
func (t *legacyTable) isDeadEnd(hook uint32, some bool) bool {
	for at := int(t.chains[hook]); at >= 0 && at+t.entryLen <= len(t.entries); {
		target := at + int(binary.NativeEndian.Uint16(t.entries[at+t.targetOffset:]))
		next := int(binary.NativeEndian.Uint16(t.entries[at+t.targetOffset+2:]))
		if target+xtTargetLen+4 > len(t.entries) || next == 0 {
			return false
		}
		if t.stops(target) && (some || t.isUnconditional(at, target)) {
			return true
		}
		if at == int(t.policies[hook]) {
			return false
		}
		at += next
	}
	return false
}

// isUnconditional allows for a comment, which is a match.
func (t *legacyTable) isUnconditional(at, target int) bool {
	for _, b := range t.entries[at : at+t.targetOffset-4] {
		if b != 0 {
			return false
		}
	}
	match := at + t.entryLen
	return match == target || match+xtTargetLen <= target && text(t.entries[match+2:match+31]) == "comment" &&
		match+int(binary.NativeEndian.Uint16(t.entries[match:])) == target
}

// stops is about a target, struct xt_entry_target: size, name, revision, data.
// One without a name is a verdict.
func (t *legacyTable) stops(target int) bool {
	switch text(t.entries[target+2 : target+31]) {
	case "REJECT":
		return true
	case "":
		return int32(binary.NativeEndian.Uint32(t.entries[target+xtTargetLen:])) == xtDrop
	}
	return false
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
