package netdev

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Forward has the host route between its devices. A host that forwards IPv6
// no longer believes router advertisements (accept_ra 1), and would lose its
// default route when it expires; those devices get accept_ra 2, which believes
// them all the same (Documentation/networking/ip-sysctl).
func (h *Handle) Forward(ip4, ip6 bool) error {
	if ip4 {
		if err := h.SetSysctl("ipv4/ip_forward", "1"); err != nil {
			return err
		}
	}
	if !ip6 || !hasIPv6() {
		return nil
	}
	if err := h.inside(keepRouters); err != nil {
		return err
	}
	return h.SetSysctl("ipv6/conf/all/forwarding", "1")
}

func keepRouters() error {
	const conf = "/proc/sys/net/ipv6/conf"
	if on, err := os.ReadFile(filepath.Join(conf, "all/forwarding")); err == nil && strings.TrimSpace(string(on)) == "1" {
		return nil
	}
	devices, err := os.ReadDir(conf)
	if err != nil {
		return fmt.Errorf("list IPv6 devices: %w", err)
	}
	for _, d := range devices {
		path := filepath.Join(conf, d.Name(), "accept_ra")
		if ra, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(ra)) != "1" || d.Name() == "all" {
			continue
		}
		if err := os.WriteFile(path, []byte("2"), 0); err != nil {
			return fmt.Errorf("keep router advertisements of %s: %w", d.Name(), err)
		}
	}
	return nil
}
