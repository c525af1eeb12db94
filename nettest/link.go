package nettest

import (
	"fmt"
	"os"
)

// Link joins two hosts by a veth pair, both ends up. Addresses, in CIDR form,
// are given to a's end or b's.
func Link(a *Host, aName string, aAddrs []string, b *Host, bName string, bAddrs []string) {
	a.t.Helper()
	a.pair(aName, b, bName)
	a.address(aName, aAddrs)
	b.address(bName, bAddrs)
}

// pair makes a veth pair, both ends up: an IPv6 address that is given before
// the link has a carrier answers neighbour solicitations only a second later.
func (h *Host) pair(name string, peer *Host, peerName string) {
	h.t.Helper()
	h.Run("ip", "link", "add", name, "type", "veth", "peer", "name", peerName, "netns", peer.netnsRef())
	h.Run("ip", "link", "set", name, "up")
	peer.Run("ip", "link", "set", peerName, "up")
}

func (h *Host) address(name string, addrs []string) {
	h.t.Helper()
	for _, a := range addrs {
		h.Run("ip", "address", "add", a, "dev", name, "nodad")
	}
}

// Switch is an Ethernet segment: a bridge in a namespace of its own.
type Switch struct {
	host  *Host
	ports int
}

// NewSwitch makes a segment without ports.
func NewSwitch(h *Host) *Switch {
	s := &Switch{host: NewHost(h.t, "switch")}
	s.host.Run("ip", "link", "add", "sw", "type", "bridge", "forward_delay", "0")
	s.host.Run("ip", "link", "set", "sw", "up")
	return s
}

// Join plugs a host into the segment, as the interface name with the
// addresses, in CIDR form.
func (s *Switch) Join(h *Host, name string, addrs ...string) {
	h.t.Helper()
	s.ports++
	port := fmt.Sprintf("p%d", s.ports)
	s.host.pair(port, h, name)
	s.host.Run("ip", "link", "set", port, "master", "sw")
	h.address(name, addrs)
}

// netnsRef is a path by which a process in any mount namespace of this
// machine finds the namespace: iproute2 takes it for a name when it has no
// slash.
func (h *Host) netnsRef() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.net.FD()) }
