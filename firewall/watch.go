package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev/nlsock"
)

// Watch tells when something is removed from the tables that Seal and
// KeepGateway make, as by "nft flush ruleset", in one network namespace.
type Watch struct {
	file *os.File
	buf  []byte
}

// watchBuffer is room for a flush of some thousand elements, which comes as
// one burst.
const watchBuffer = 4 << 20

// NewWatch opens a Watch in the calling thread's namespace.
func NewWatch() (*Watch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	// Where the host may not force it, the limit of others will do.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer)
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	return &Watch{file: os.NewFile(uintptr(fd), "nfnetlink"), buf: make([]byte, 64<<10)}, nil
}

// Close ends the Watch, and Next with os.ErrClosed.
func (w *Watch) Close() error { return w.file.Close() }

// Next waits until something was removed, or may have been because news were
// lost, and then takes in for a while what else is removed with it.
func (w *Watch) Next(settle time.Duration) error {
	if err := w.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	for removed := false; ; {
		n, err := w.file.Read(w.buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("watch nftables: %w", err)
		case removed || err == nil && !removes(w.buf[:n]):
			continue
		}
		removed = true
		if err := w.file.SetReadDeadline(time.Now().Add(settle)); err != nil {
			return fmt.Errorf("watch nftables: %w", err)
		}
	}
}

// removes looks at the messages of one datagram: the kernel puts as many of a
// transaction into it as fit (nft_commit_notify of net/netfilter/nf_tables_api.c),
// so a socket filter, which sees the first only, would not do.
func removes(data []byte) bool {
	for len(data) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(data))
		if length < unix.NLMSG_HDRLEN || length > len(data) {
			return true // who knows what
		}
		typ := binary.NativeEndian.Uint16(data[4:])
		if isRemoval(typ) && isWatched(tableOf(data[unix.NLMSG_HDRLEN:length])) {
			return true
		}
		data = data[min(len(data), (length+3)&^3):]
	}
	return false
}

func isRemoval(typ uint16) bool {
	switch typ {
	case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE,
		unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELCHAIN,
		unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELRULE,
		unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELSET,
		unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELSETELEM:
		return true
	}
	return false
}

func isWatched(table string) bool { return table == sealedTable || table == anycastTable }

// tableOf is the name of the table that a message is about: the first kind of
// attribute of every object, behind struct nfgenmsg, of four bytes
// (include/uapi/linux/netfilter/nf_tables.h).
func tableOf(payload []byte) (name string) {
	const sizeofNfgenmsg = 4
	if len(payload) < sizeofNfgenmsg {
		return ""
	}
	nlsock.Attrs(payload[sizeofNfgenmsg:], func(typ uint16, v []byte) {
		if typ == unix.NFTA_TABLE_NAME && len(v) > 0 {
			name = unix.ByteSliceToString(v)
		}
	})
	return name
}
