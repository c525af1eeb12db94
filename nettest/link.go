package nettest

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Link joins two hosts by a veth pair, both ends up. Addresses, in CIDR form,
// are given to a's end or b's.
func Link(a *Host, aName string, aAddrs []string, b *Host, bName string, bAddrs []string) {
	a.t.Helper()
	a.pair(aName, b, bName)
	a.address(aName, aAddrs)
	b.address(bName, bAddrs)
}

// pair makes a veth pair, both ends up and their carrier noticed: before that
// a device has no multicast routes, and an IPv6 address that it is given
// answers neighbour solicitations only a second later.
func (h *Host) pair(name string, peer *Host, peerName string) {
	h.t.Helper()
	h.Run("ip", "link", "add", name, "type", "veth", "peer", "name", peerName, "netns", peer.netnsRef())
	h.Run("ip", "link", "set", name, "up")
	peer.Run("ip", "link", "set", peerName, "up")
	h.awaitCarrier(name)
	peer.awaitCarrier(peerName)
}

func (h *Host) awaitCarrier(name string) {
	h.t.Helper()
	Eventually(h.t, h.Name+"'s carrier on "+name, func() error {
		// Not /sys: that of a Container shows the host's devices.
		if out := h.Run("ip", "-o", "link", "show", "dev", name); !strings.Contains(out, "state UP") {
			return errors.New(out)
		}
		return nil
	})
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
	ports map[*Host][]string
}

// NewSwitch makes a segment without ports.
func NewSwitch(h *Host) *Switch {
	s := &Switch{host: NewHost(h.t, "switch"), ports: map[*Host][]string{}}
	s.host.Run("ip", "link", "add", "sw", "type", "bridge", "forward_delay", "0")
	s.host.Run("ip", "link", "set", "sw", "up")
	return s
}

// Join plugs a host into the segment, as the interface name with the
// addresses, in CIDR form.
func (s *Switch) Join(h *Host, name string, addrs ...string) {
	h.t.Helper()
	port := fmt.Sprintf("p%d", s.portCount())
	s.ports[h] = append(s.ports[h], port)
	s.host.pair(port, h, name)
	s.host.Run("ip", "link", "set", port, "master", "sw")
	h.address(name, addrs)
}

func (s *Switch) portCount() (n int) {
	for _, ports := range s.ports {
		n += len(ports)
	}
	return n
}

// Cut parts two hosts: no frame of one reaches the other through the segment
// until Heal. Their links stay up, as in a network that fails somewhere
// between.
func (s *Switch) Cut(a, b *Host) {
	s.host.t.Helper()
	s.host.nft("add table bridge cut; add chain bridge cut forward { type filter hook forward priority 0; }")
	for _, p := range s.ports[a] {
		for _, q := range s.ports[b] {
			s.host.nft(fmt.Sprintf("add rule bridge cut forward iif %[1]s oif %[2]s drop; add rule bridge cut forward iif %[2]s oif %[1]s drop", p, q))
		}
	}
}

// Heal undoes every Cut.
func (s *Switch) Heal() {
	s.host.t.Helper()
	s.host.nft("add table bridge cut; delete table bridge cut")
}

func (h *Host) nft(script string) {
	h.t.Helper()
	h.Run("nft", script)
}

// netnsRef is a path by which a process in any mount namespace of this
// machine finds the namespace: iproute2 takes it for a name when it has no
// slash.
func (h *Host) netnsRef() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.net.FD()) }
