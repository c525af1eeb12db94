package nettest

import "fmt"

// Link joins two hosts by a veth pair, both ends up. Addresses, in CIDR form,
// are given to a's end or b's.
func Link(a *Host, aName string, aAddrs []string, b *Host, bName string, bAddrs []string) {
	a.t.Helper()
	a.Run("ip", "link", "add", aName, "type", "veth", "peer", "name", bName, "netns", fmt.Sprint(b.netnsRef()))
	a.configure(aName, aAddrs)
	b.configure(bName, bAddrs)
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
	Link(s.host, port, nil, h, name, addrs)
	s.host.Run("ip", "link", "set", port, "master", "sw")
}

func (h *Host) configure(name string, addrs []string) {
	h.t.Helper()
	for _, a := range addrs {
		h.Run("ip", "address", "add", a, "dev", name, "nodad")
	}
	h.Run("ip", "link", "set", name, "up")
}

// netnsRef is a path by which a process in any mount namespace of this
// machine finds the namespace: iproute2 takes it for a name when it has no
// slash.
func (h *Host) netnsRef() string { return fmt.Sprintf("/proc/%d/fd/%d", pid(), h.net.FD()) }
