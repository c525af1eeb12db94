package none

import (
	"net"
	"slices"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// fallbacks are the tunnel devices that the kernel puts into every new
// namespace when their modules are loaded (net.core.fb_tunnels_only_for_init_net).
// They are down, and carry nothing until somebody brings them up.
var fallbacks = []string{
	"tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0",
}

// onlyLoopback names the first device that breaks the isolation.
func onlyLoopback(h *netdev.Handle, req *plugins.Request) error {
	links, err := h.Links()
	if err != nil {
		return err
	}
	for _, l := range links {
		a := l.Attrs()
		up := a.Flags&net.FlagUp != 0
		if a.Flags&net.FlagLoopback != 0 || !up && slices.Contains(fallbacks, a.Name) {
			continue
		}
		return plugins.Errorf(plugins.CodeInternal,
			"network %s of type none: container %s has device %s in %s besides lo; remove it, or disconnect the container from %s",
			req.Name, req.ContainerID, a.Name, req.NetNS, req.Name)
	}
	return nil
}

func loopbackIsUp(h *netdev.Handle, req *plugins.Request) error {
	lo, err := h.Link("lo")
	if err != nil {
		return err
	}
	if lo.Attrs().Flags&net.FlagUp == 0 {
		return plugins.Errorf(plugins.CodeInternal, "container %s: lo is down in %s", req.ContainerID, req.NetNS)
	}
	return nil
}
