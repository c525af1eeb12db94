package network

import (
	"crypto/sha256"
	"net/netip"
	"os"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/state"
)

// defaultPool4 is private space (RFC 1918) that neither Docker, Podman nor
// Kubernetes takes by default.
var defaultPool4 = ipam.Pool{Base: netip.MustParsePrefix("10.210.0.0/16"), Bits: 24}

// defaultPool6 is this host's unique local prefix. Its 40 bits are random
// from host to host and always the same on one, as RFC 4193, section 3.2.2
// wants them: two hosts whose networks are joined one day do not clash.
func defaultPool6() (ipam.Pool, error) {
	seed, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(seed) == 0 {
		id, err := state.BootID()
		if err != nil {
			return ipam.Pool{}, err
		}
		seed = []byte(id)
	}
	// machine-id(5): it is confidential, so only a keyed hash leaves the host.
	sum := sha256.Sum256(append([]byte("berth unique local prefix\x00"), seed...))
	base := [16]byte{0: 0xfd}
	copy(base[1:6], sum[:])
	return ipam.Pool{Base: netip.PrefixFrom(netip.AddrFrom16(base), 48), Bits: 64}, nil
}

// carve chooses a subnet that no network of the catalogue and no route or
// address of the host overlaps. The directory is locked.
func (c *Catalogue) carve(v6 bool) (netip.Prefix, error) {
	pools, err := c.poolsOf(v6)
	if err != nil {
		return netip.Prefix{}, err
	}
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
	return ipam.Carve(pools, taken)
}

// poolsOf are those of one family that the options name, or the default.
func (c *Catalogue) poolsOf(v6 bool) ([]ipam.Pool, error) {
	var pools []ipam.Pool
	for _, p := range c.pools {
		if p.Base.Addr().Is6() == v6 {
			pools = append(pools, p)
		}
	}
	if len(pools) > 0 {
		return pools, nil
	}
	if !v6 {
		return []ipam.Pool{defaultPool4}, nil
	}
	p, err := defaultPool6()
	return []ipam.Pool{p}, err
}

func hostRoutes() ([]netip.Prefix, error) {
	h, err := netdev.Here()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.Destinations()
}
