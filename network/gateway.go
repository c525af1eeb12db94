package network

import (
	"errors"
	"slices"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/netns"
)

// candidate is a default route that a container could have, of one family.
type candidate struct {
	netdev.Default
	priority int
}

// regulate gives the container the default routes of the network whose
// gateway priority is the highest; of equals it stays with the one that was
// connected first, so that connecting another one breaks no connection. What
// the container had from somebody else counts as connected first with
// priority 0, and comes back when it is its turn again. The container's lock
// is held.
func (c *Catalogue) regulate(container string, ns *netns.Handle) error {
	all, err := c.attachmentsOf(container)
	if err != nil {
		return err
	}
	byAge(all)
	stored, err := c.displaced(container)
	if err != nil {
		return err
	}
	h, err := netdev.In(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	now, err := h.Defaults()
	if err != nil {
		return err
	}
	var displaced []netdev.Default
	for _, v6 := range []bool{false, true} {
		gone, err := choose(h, family(now, v6), family(stored, v6), candidates(all, v6), ifnames(all))
		if err != nil {
			return err
		}
		displaced = append(displaced, gone...)
	}
	if slices.Equal(displaced, stored) {
		return nil
	}
	return c.setDisplaced(container, displaced)
}

// choose sets the default route of one family and returns what is displaced
// by it.
func choose(h *netdev.Handle, now, stored []netdev.Default, ours []candidate, devices []string) ([]netdev.Default, error) {
	foreign := stored
	for _, d := range now {
		if !slices.Contains(devices, d.IfName) && !slices.Contains(foreign, d) {
			foreign = append(foreign, d)
		}
	}
	best := highest(ours)
	if best == nil || len(foreign) > 0 && best.priority <= 0 {
		return nil, restore(h, now, foreign, ours)
	}
	var displaced []netdev.Default
	for _, d := range foreign {
		if d.Metric() <= best.Metric() {
			displaced = append(displaced, d)
		}
	}
	if !slices.ContainsFunc(now, best.same) {
		if err := h.ReplaceDefault(best.Default); err != nil {
			return nil, err
		}
	}
	for _, d := range now {
		if !best.same(d) && (among(ours, d) || slices.Contains(displaced, d)) {
			if err := h.DeleteDefault(d); err != nil {
				return nil, err
			}
		}
	}
	return displaced, nil
}

// restore puts back the default routes of somebody else, and takes away ours.
func restore(h *netdev.Handle, now, foreign []netdev.Default, ours []candidate) error {
	var errs []error
	for _, d := range now {
		if among(ours, d) {
			errs = append(errs, h.DeleteDefault(d))
		}
	}
	for _, d := range foreign {
		if slices.Contains(now, d) {
			continue
		}
		if err := h.AddDefault(d); !errors.Is(err, netdev.ErrNotFound) { // its device may have gone
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func highest(list []candidate) *candidate {
	var best *candidate
	for i := range list {
		if best == nil || list[i].priority > best.priority {
			best = &list[i]
		}
	}
	return best
}

// among tells whether a route of the kernel is one that an attachment brought;
// what people add by hand to its interface stays.
func among(ours []candidate, d netdev.Default) bool {
	return slices.ContainsFunc(ours, func(c candidate) bool { return c.same(d) })
}

func (c *candidate) same(d netdev.Default) bool {
	return d.IfName == c.IfName && d.Gateway == c.Gateway && d.Metric() == c.Metric()
}

// candidates are the default routes that the results of a container's
// attachments have.
func candidates(all []*attachment, v6 bool) []candidate {
	var list []candidate
	for _, a := range all {
		if a.Result == nil {
			continue
		}
		for _, r := range a.Result.Routes {
			if r.Dst.Bits() != 0 || r.Dst.Addr().Is6() != v6 || r.Table != nil {
				continue
			}
			d := netdev.Default{IfName: a.IfName, Gateway: r.Gateway, IPv6: v6, Priority: r.Priority}
			for _, ip := range a.Result.IPs {
				if !d.Gateway.IsValid() && ip.Address.Addr().Is6() == v6 {
					d.Gateway = ip.Gateway
				}
			}
			list = append(list, candidate{d, a.Endpoint.GwPriority})
			break
		}
	}
	return list
}

func ifnames(all []*attachment) []string {
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = a.IfName
	}
	return names
}

func family(list []netdev.Default, v6 bool) []netdev.Default {
	return slices.DeleteFunc(slices.Clone(list), func(d netdev.Default) bool { return d.IPv6 != v6 })
}

func byAge(all []*attachment) {
	slices.SortStableFunc(all, func(a, b *attachment) int { return a.Created.Compare(b.Created) })
}

// regulateAfter does so when an attachment has ended. A container that is
// gone needs no route.
func (c *Catalogue) regulateAfter(a *attachment) error {
	ns, err := netns.Open(a.Endpoint.NetNS)
	if err != nil || !a.alive() {
		return c.forget(a, ns)
	}
	defer ns.Close()
	return c.regulate(a.ContainerID, ns)
}

func (c *Catalogue) forget(a *attachment, ns *netns.Handle) error {
	if ns != nil {
		ns.Close()
	}
	stored, err := c.displaced(a.ContainerID)
	if err != nil || len(stored) == 0 {
		return err
	}
	return c.setDisplaced(a.ContainerID, nil)
}
