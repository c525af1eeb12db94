package nettest

import "strings"

// Addresses lists each device with its state and addresses, a line each.
func (h *Host) Addresses() string {
	h.t.Helper()
	return tidy(h.Run("ip", "-brief", "address"))
}

// Links lists the devices in detail, without numbers that differ from run to
// run where ip leaves them out.
func (h *Host) Links() string {
	h.t.Helper()
	return tidy(h.Run("ip", "-brief", "link"))
}

// Routes lists the main table's routes, IPv4 before IPv6.
func (h *Host) Routes() string {
	h.t.Helper()
	return tidy(h.Run("ip", "-4", "route") + h.Run("ip", "-6", "route"))
}

// Neighbours lists who is known at which hardware address.
func (h *Host) Neighbours() string {
	h.t.Helper()
	return tidy(h.Run("ip", "neighbour"))
}

// FDB lists the forwarding database of bridges and VXLAN devices.
func (h *Host) FDB() string {
	h.t.Helper()
	return tidy(h.Run("bridge", "fdb"))
}

// Rules is the whole nftables ruleset, without counters.
func (h *Host) Rules() string {
	h.t.Helper()
	return tidy(h.Run("nft", "-s", "list", "ruleset"))
}

// tidy takes away the blanks with which iproute2 ends its lines.
func tidy(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \t\n"))
		b.WriteByte('\n')
	}
	return b.String()
}
