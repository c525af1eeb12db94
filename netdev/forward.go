package netdev

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
	if err := h.inside(func() error { return keepRouters(func(string) bool { return false }) }); err != nil {
		return err
	}
	return h.SetSysctl("ipv6/conf/all/forwarding", "1")
}
