package firewall

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// listener names the process that keeps the address's port from being bound,
// as well as /proc tells.
func listener(protocol string, addr netip.Addr, port uint16) string {
	for _, file := range []string{protocol, protocol + "6"} {
		if inode := socketInode("/proc/thread-self/net/"+file, protocol, addr, port); inode != "" {
			return process(inode)
		}
	}
	return "a process of the host"
}

// tcpListen is TCP_LISTEN as /proc/net/tcp prints it.
const tcpListen = "0A"

// socketInode finds the socket in a table such as /proc/net/tcp.
func socketInode(path, protocol string, addr netip.Addr, port uint16) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	want := fmt.Sprintf("%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) <= 9 || protocol == "tcp" && f[3] != tcpListen {
			continue
		}
		if local, p, ok := strings.Cut(f[1], ":"); ok && p == want && occupies(procAddr(local), addr) {
			return f[9]
		}
	}
	return ""
}

// procAddr reads an address as /proc/net/tcp prints it: words of four bytes,
// each as the number that it is to this machine.
func procAddr(text string) netip.Addr {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw)%4 != 0 {
		return netip.Addr{}
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr.Unmap()
}

// occupies tells whether a socket is in the way at an address. One on :: may
// be so in IPv4 as well.
func occupies(socket, addr netip.Addr) bool {
	return overlap(socket, addr) || socket == netip.IPv6Unspecified()
}

func process(inode string) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			break
		}
		return fmt.Sprintf("process %s (%s) of the host", pid, strings.TrimSpace(string(name)))
	}
	return "a process of the host"
}
