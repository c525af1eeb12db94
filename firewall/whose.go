package firewall

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// listener names the process that has the port open, as well as /proc tells.
func listener(protocol string, port uint16) string {
	for _, file := range []string{protocol, protocol + "6"} {
		if inode := socketInode("/proc/thread-self/net/"+file, port, protocol); inode != "" {
			return process(inode)
		}
	}
	return "a process of the host"
}

// tcpListen is TCP_LISTEN as /proc/net/tcp prints it.
const tcpListen = "0A"

// socketInode finds the socket in a table such as /proc/net/tcp.
func socketInode(path string, port uint16, protocol string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	want := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) > 9 && strings.HasSuffix(f[1], want) && (protocol != "tcp" || f[3] == tcpListen) {
			return f[9]
		}
	}
	return ""
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
