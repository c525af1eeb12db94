package ipam

import (
	"errors"
	"slices"

	leases "github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
)

// leaseRequest names the container's namespace too, by which a lease without
// an owner is found when nobody has freed it.
func leaseRequest(req *plugins.Request) (leases.Request, error) {
	id, err := netnsID(req.NetNS)
	return leases.Request{
		Key: keyOf(req), Static: slices.Concat(req.Runtime.IPs, req.Args.IPs),
		MAC: req.MAC(), Name: req.Args.Pod.Name, NetNS: req.NetNS, NetNSID: id,
	}, err
}

func netnsID(path string) (netns.ID, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return netns.ID{}, plugins.Errorf(plugins.CodeInvalidEnvironment, "CNI_NETNS: %w", err)
	}
	id, err := ns.ID()
	return id, errors.Join(err, ns.Close())
}
