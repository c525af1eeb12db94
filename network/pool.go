package network

import (
	"fmt"
	"net/netip"

	"github.com/berth-net/berth/netdev"
)

// carve chooses a subnet that no network of the catalogue and no route of the
// host overlaps. The directory is locked.
func (c *Catalogue) carve(v6 bool) (netip.Prefix, error) {
	taken, err := hostRoutes()
	if err != nil {
		return netip.Prefix{}, err
	}
	networks, _ := c.List()
	for _, n := range networks {
		for _, s := range n.Subnets {
			taken = append(taken, s.Subnet)
		}
	}
	return firstFree(v6, taken)
}

func hostRoutes() ([]netip.Prefix, error) {
	h, err := netdev.Here()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.Destinations()
}

func firstFree(v6 bool, taken []netip.Prefix) (netip.Prefix, error) {
	for i := range 256 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 210, byte(i)}), 24)
		if v6 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0xbe, 0x47, 0x48, 0, 0, 0, byte(i)}), 64)
		}
		free := true
		for _, t := range taken {
			free = free && !t.Overlaps(p)
		}
		if free {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("choose subnet: the pool 10.210.0.0/16 is used up; give one")
}
