package dhcp

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// failingConn cannot send.
type failingConn struct {
	net.PacketConn
	err error
}

func (c failingConn) WriteTo([]byte, net.Addr) (int, error) { return 0, c.err }

func TestAFullNeighbourTableLosesAPacketAndNoMore(t *testing.T) {
	for err, lost := range map[error]bool{unix.EINVAL: true, unix.ENOBUFS: true, unix.ENETDOWN: false} {
		n, got := lossyConn{failingConn{err: &net.OpError{Op: "write", Err: err}}}.WriteTo([]byte("solicit"), nil)
		if lost && (n != len("solicit") || got != nil) || !lost && !errors.Is(got, err) {
			t.Errorf("%v while sending: %d bytes, %v", err, n, got)
		}
	}
}
