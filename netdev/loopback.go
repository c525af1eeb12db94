package netdev

// LoopbackUp brings lo up, which gives it 127.0.0.1/8 and ::1/128
// (inetdev_event in net/ipv4/devinet.c, init_loopback in net/ipv6/addrconf.c).
func (h *Handle) LoopbackUp() (Link, error) {
	lo, err := h.Link("lo")
	if err != nil {
		return nil, err
	}
	return lo, h.SetUp(lo)
}
