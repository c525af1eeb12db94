package agent_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/state"
)

// judge holds what there is against the containers that are left, without
// helping: no agent is started anew.
func (c *chaos) judge() {
	for i, h := range c.hosts {
		c.eventually("the VTEP of "+h.Name, func() error { return c.compareVTEP(i) })
		c.eventually("the entries of "+h.Name, func() error { return c.compareEntries(i) })
		c.eventually("the leases of "+h.Name, func() error { return c.compareLeases(i) })
		c.eventually("the ports of "+h.Name, func() error { return c.comparePorts(i) })
		c.eventually("what "+h.Name+" knows of the cluster", func() error { return c.compareCluster(h) })
	}
	var all []*member
	for i := range c.hosts {
		all = append(all, c.on(i)...)
	}
	c.everyPair(all)
}

// awaitAgent waits until a host's agent serves the network and has told the
// cluster where the host is: one that was killed after a change of that waits
// for the end of its old lease, and the others forget its containers.
func (c *chaos) awaitAgent(host int) {
	h := c.hosts[host]
	c.eventually("the agent of "+h.Name, func() error {
		c.reviveAgents()
		s, err := c.status(h)
		if err == nil && (len(s.Networks) == 0 || s.Address != c.at[host]) {
			err = fmt.Errorf("it is at %s and serves %v: %v", s.Address, s.Networks, s.Errors)
		}
		return err
	})
}

// on are the containers of a host.
func (c *chaos) on(host int) []*member {
	return append([]*member{c.calm[host]}, c.crowds[host].members...)
}

// compareEntries is of a host's forwarding and neighbour entries, which are
// for the containers on the others.
func (c *chaos) compareEntries(host int) error {
	var want []string
	for i := range c.hosts {
		if i == host {
			continue
		}
		for _, m := range c.on(i) {
			mac := macInside(m)
			want = append(want, mac+" at "+c.at[i], mac+" by vx-front")
			for _, ip := range m.ips {
				want = append(want, ip.String()+" is "+mac)
			}
		}
	}
	h := c.hosts[host]
	return c.differ(want, append(forwarding(h), bridged(h)...))
}

// compareVTEP is of where a host's own end of the tunnels is.
func (c *chaos) compareVTEP(host int) error {
	out, err := c.hosts[host].Try("ip", "-d", "link", "show", "vx-front")
	if err == nil && !strings.Contains(out, " local "+c.at[host]+" ") {
		err = fmt.Errorf("it is not %s: %s", c.at[host], out)
	}
	return err
}

// compareLeases is of the addresses that a host has given.
func (c *chaos) compareLeases(host int) error {
	var want, have []string
	for _, m := range c.on(host) {
		want = append(want, fmt.Sprint(m.Name, m.ips))
	}
	err := c.hosts[host].Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return store.View(func(tx *state.Tx) error {
			all, err := ipam.Holdings(tx, "front")
			for _, l := range all {
				have = append(have, fmt.Sprint(l.ContainerID, l.Addresses))
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	return c.differ(want, have)
}

// comparePorts is of what is on a host's bridge.
func (c *chaos) comparePorts(host int) error {
	want := []string{"vx-front"}
	for _, m := range c.on(host) {
		want = append(want, m.port)
	}
	out, err := c.hosts[host].Try("ls", "/sys/class/net/bo-front/brif")
	if err != nil {
		return err
	}
	return c.differ(want, strings.Fields(out))
}

// compareCluster is of the endpoints that a host's agent knows.
func (c *chaos) compareCluster(h *nettest.Host) error {
	var want, have []string
	for i, host := range c.hosts {
		for _, m := range c.on(i) {
			want = append(want, fmt.Sprint(m.Name, m.ips, host.Name))
		}
	}
	answer, err := c.call(h, api.Request{Inspect: &api.NetworkName{Name: "front"}})
	if err != nil {
		return err
	}
	for _, e := range answer.Network.Endpoints {
		have = append(have, fmt.Sprint(e.ContainerID, e.Addresses, e.Host))
	}
	return c.differ(want, have)
}

func (c *chaos) differ(want, have []string) error {
	slices.Sort(want)
	slices.Sort(have)
	if slices.Equal(want, have) {
		return nil
	}
	var lines []string
	for _, w := range want {
		if !slices.Contains(have, w) {
			lines = append(lines, "missing: "+w)
		}
	}
	for i, x := range have {
		if !slices.Contains(want, x) || i > 0 && have[i-1] == x {
			lines = append(lines, "too much: "+x)
		}
	}
	return fmt.Errorf("%s", strings.Join(lines, "\n"))
}

// explain is what a host's kernel has of the network.
func (c *chaos) explain(h *nettest.Host) string {
	links, _ := h.Try("ip", "-br", "link")
	ports, _ := h.Try("bridge", "link")
	vxlan, _ := h.Try("ip", "-d", "-o", "link", "show", "vx-front")
	return strings.Join(append([]string{"", h.Name, links, ports, vxlan}, forwarding(h)...), "\n")
}
