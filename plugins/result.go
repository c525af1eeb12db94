package plugins

import (
	"net"
	"net/netip"
)

// Result is the success result of CNI 1.1.0 in netip types; cniwire converts
// it to what the caller's version can say.
type Result struct {
	Interfaces []Interface
	IPs        []IP
	Routes     []Route
	DNS        DNS

	// Warnings tell what does not work as one may expect, though the Add has
	// succeeded. CNI has no place for them: adapters print them.
	Warnings []string `json:",omitempty"`
}

// Interface is a device that the attachment made or uses.
type Interface struct {
	Name       string
	MAC        net.HardwareAddr
	MTU        int
	Sandbox    string // netns path; empty for a device of the host
	SocketPath string
	PCIID      string
}

// IP is an address of the attachment.
type IP struct {
	Interface int // index into Result.Interfaces, or -1
	Address   netip.Prefix
	Gateway   netip.Addr // zero: none
}

// Route is a route in the container. Zero values mean "not given".
type Route struct {
	Dst      netip.Prefix
	Gateway  netip.Addr
	MTU      int
	AdvMSS   int
	Priority int
	Table    *int
	Scope    *int
}

// DNS tells a runtime what to write to resolv.conf.
type DNS struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
	Options     []string `json:"options,omitempty"`
}
