package macvlan

import (
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

// remove deletes the device of an attachment, in the namespace that the
// request names or else the record, which may be nil. Where neither is that
// namespace any more the device went with it.
func remove(req *plugins.Request, r *endpoint.Record) error {
	ns, err := attach.OpenForDel(req, r)
	if err == nil && ns == nil && r != nil {
		ns, err = attach.OpenForDel(attach.DelRequest(r, req.Network), r)
	}
	if err != nil || ns == nil {
		return err
	}
	defer ns.Close()
	return removeDevice(ns, req.IfName)
}

// removeDevice leaves a device of another kind alone: an Add that found the
// name taken must not take it away.
func removeDevice(ns *netns.Handle, ifname string) error {
	c, err := netdev.DialIn(ns)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.DeleteLinkIf(ifname, func(d *netdev.Device) bool { return d.Macvlan != nil })
}
