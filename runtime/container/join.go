package container

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/berth-net/berth/netns"
)

// joinNetworks gives the container its network namespace and attaches it to
// its networks, in the order in which they were asked for.
func (s *supervisor) joinNetworks(ctx context.Context) error {
	for _, n := range s.c.Networks {
		switch n.Mode {
		case ModeHost:
			return s.openNames()
		case ModeContainer:
			if err := s.shareNetwork(n.Name); err != nil {
				return err
			}
			return s.openNames()
		}
	}
	if err := s.makeNetNS(); err != nil {
		return err
	}
	if err := s.openNames(); err != nil {
		return err
	}
	// Before the first attachment: one that fails half-way is recorded too.
	s.onEnd(func() error { return s.net.DetachAll(context.WithoutCancel(ctx), s.c.ID) })
	ports := s.c.Ports
	for i, n := range s.c.Networks {
		if n.Mode == ModeNone {
			continue
		}
		if n.IfName == "" {
			n.IfName = fmt.Sprintf("eth%d", i)
		}
		n.Aliases = s.aliasesOn(n)
		ep, err := s.net.Attach(ctx, Attachment{
			ContainerID: s.c.ID, ContainerName: s.c.Name, NetNS: s.st.NetNS, NetworkConfig: n, Ports: ports, DNS: s.settings(),
		})
		if err != nil {
			return fmt.Errorf("connect container %s to network %s: %w", s.c.Name, n.Name, err)
		}
		s.st.Endpoints = append(s.st.Endpoints, *ep)
		s.warn(ep)
		ports = nil
	}
	return nil
}

// warn tells the client what does not work on a network, though the container
// is connected.
func (s *supervisor) warn(ep *Endpoint) {
	for _, warning := range ep.Warnings {
		s.client.write(frameWarning, fmt.Appendf(nil, "network %s: %s", ep.Network, warning))
	}
}

// makeNetNS pins a new namespace in this boot's directory, its loopback up.
func (s *supervisor) makeNetNS() error {
	path := s.c.store.netns(s.c.ID)
	ns, err := netns.Create(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	s.st.NetNS = path
	s.onEnd(func() error { return netns.Unpin(path) })
	return loopbackUp(ns)
}

func loopbackUp(ns *netns.Handle) error {
	return ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			return fmt.Errorf("set loopback up: %w", err)
		}
		return nil
	})
}

// shareNetwork joins the namespace of another container, which must run.
func (s *supervisor) shareNetwork(ref string) error {
	other, err := s.c.store.Get(ref)
	if err != nil {
		return err
	}
	st, err := other.State()
	if err != nil {
		return err
	}
	if st.Status != Running {
		return fmt.Errorf("share the network of container %s: %w", other.Name, ErrNotRunning)
	}
	s.st.NetNS, s.st.Endpoints = st.NetNS, st.Endpoints
	return nil
}

// ownNetwork tells that the namespace is not the host's nor another
// container's.
func (s *supervisor) ownNetwork() bool {
	return s.st.NetNS == s.c.store.netns(s.c.ID)
}
