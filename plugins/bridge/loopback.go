package bridge

import (
	"net/netip"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// checkLoopback refuses a port that is published on ::1 alone where nobody
// would get an answer. br_netfilter translates the container's answer back to
// ::1 while it is still on the bridge, and IPv6 drops what comes in for ::1 by
// a device other than lo (ip6_rcv_core, net/ipv6/ip6_input.c). Without it the
// answer is translated only behind that check. No setting of one bridge has
// the better of the host's.
func checkLoopback(ports []plugins.PortMapping) error {
	for i := range ports {
		m := &ports[i]
		if m.HostIP != netip.IPv6Loopback() || elsewhere(ports, m) {
			continue
		}
		const sysctl = "bridge/bridge-nf-call-ip6tables"
		if on, err := netdev.ReadSysctl(sysctl); err == nil && on == "1" {
			return plugins.Errorf(plugins.CodeInvalidConfig, "publish port [::1]:%d/%s: nobody would get an answer while net.bridge.bridge-nf-call-ip6tables is 1; "+
				"publish it on 127.0.0.1 too, or set net.bridge.bridge-nf-call-ip6tables=0 where nothing on this host needs it", m.HostPort, m.Protocol)
		}
	}
	return nil
}

// elsewhere tells whether the same port is published on another address too.
func elsewhere(ports []plugins.PortMapping, m *plugins.PortMapping) bool {
	for i := range ports {
		o := &ports[i]
		if o.Protocol == m.Protocol && o.HostPort == m.HostPort && o.HostIP != m.HostIP {
			return true
		}
	}
	return false
}
