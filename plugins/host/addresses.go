package host

import (
	"errors"
	"slices"
	"strings"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// addresses is the result: the devices that others reach the host by, and
// their addresses. The device of the default route comes first, because
// clients take the first address for the container's. The devices' sandbox is
// the container's path, by which clients tell its addresses from the host's:
// here it is both.
func addresses(sandbox string) (*plugins.Result, error) {
	h, err := netdev.Here()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	all, err := h.GlobalAddrs()
	if err != nil {
		return nil, err
	}
	if err := defaultFirst(all); err != nil {
		return nil, err
	}
	result, at := &plugins.Result{}, make(map[int]int)
	for _, a := range all {
		i, known := at[a.Index]
		if !known {
			if i, err = addInterface(h, result, a.Index, sandbox); err != nil {
				return nil, err
			}
			at[a.Index] = i
		}
		if i >= 0 {
			result.IPs = append(result.IPs, plugins.IP{Interface: i, Address: a.Address})
		}
	}
	return result, nil
}

func defaultFirst(all []netdev.LinkAddr) error {
	c, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	dev, err := c.DefaultRouteDevice()
	if errors.Is(err, netdev.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	rank := func(a netdev.LinkAddr) int {
		if a.Index == dev.Index {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b netdev.LinkAddr) int { return rank(a) - rank(b) })
	return nil
}

// addInterface returns the device's place in the result, or -1 where it is to
// be left out: a bridge of the suite's own, whose address is a gateway's, or
// one that has gone since the addresses were listed.
func addInterface(h *netdev.Handle, r *plugins.Result, index int, sandbox string) (int, error) {
	link, err := h.LinkByIndex(index)
	if errors.Is(err, netdev.ErrNotFound) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	a := link.Attrs()
	if strings.HasPrefix(a.Alias, netdev.AliasPrefix) {
		return -1, nil
	}
	r.Interfaces = append(r.Interfaces, plugins.Interface{Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU, Sandbox: sandbox})
	return len(r.Interfaces) - 1, nil
}

// sameAddresses names the first address that was told and is gone.
func sameAddresses(told *plugins.Result, sandbox string) error {
	now, err := addresses(sandbox)
	if err != nil {
		return err
	}
	for _, ip := range told.IPs {
		if !slices.ContainsFunc(now.IPs, func(n plugins.IP) bool { return n.Address == ip.Address }) {
			return plugins.Errorf(plugins.CodeInternal, "address %s is no longer one of the host's", ip.Address)
		}
	}
	return nil
}
