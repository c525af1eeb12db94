package netdev

import (
	"fmt"
	"os"
)

// Forward has the host route between its devices. A host that forwards IPv6
// no longer believes router advertisements (accept_ra 1), and would lose its
// default route when it expires; those devices get accept_ra 2, which believes
// them all the same (Documentation/networking/ip-sysctl). Where it forwards
// already, its devices are not looked at: an Add must not cost more on a host
// that has many.
func (h *Handle) Forward(ip4, ip6 bool) error {
	if ip4 {
		if err := h.SetSysctl("ipv4/ip_forward", "1"); err != nil {
			return err
		}
	}
	if !ip6 || !hasIPv6() {
		return nil
	}
	return h.inside(func() error {
		const key = "ipv6/conf/all/forwarding"
		if on, err := ReadSysctl(key); err != nil || on == "1" {
			return err
		}
		if err := keepRouters(); err != nil {
			return err
		}
		return WriteSysctl(key, "1")
	})
}

func keepRouters() error {
	entries, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return fmt.Errorf("list devices with IPv6: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if name == "all" || name == "default" || name == "lo" {
			continue
		}
		key := "ipv6/conf/" + name + "/accept_ra"
		if old, err := ReadSysctl(key); err != nil || old != "1" {
			continue // the device has gone, or does not listen
		}
		if err := WriteSysctl(key, "2"); err != nil {
			return err
		}
	}
	return nil
}
