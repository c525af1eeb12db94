package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/nettest"
)

// harm does something bad: to any host or to etcd what loses no packet, to the
// victim whatever there is.
func (c *chaos) harm(victim int) {
	h := c.hosts[victim]
	c.reviveAgents()
	choose(c.rand, []choice{
		{3, func() { c.killAgent(c.hosts[c.rand.IntN(len(c.hosts))], h) }},
		{2, c.killEtcd},
		{3, func() { c.damage(h) }},
		{2, func() { c.partition(h) }},
		{1, func() { c.readdress(victim) }},
	})
}

// does notes a harm, with its time for who reads the agents' logs.
func (c *chaos) does(what string, h *nettest.Host) {
	c.note(what)
	c.Logf("%s %s %s", time.Now().UTC().Format("05.000"), what, h.Name)
}

// killAgent spares an agent that was killed so lately that its endpoints may
// not be on its new lease yet: when the old one ends the other hosts forget
// them, as they should.
func (c *chaos) killAgent(h, victim *nettest.Host) {
	if h != victim && time.Since(c.killed[h]) < chaosTTL {
		return
	}
	c.does("kill agent", h)
	c.killed[h] = time.Now()
	c.agents[h].Kill()
	c.wait(c.rand, 300*time.Millisecond)
	c.startAgent(h)
}

// reviveAgents starts those that have given up, as systemd does.
func (c *chaos) reviveAgents() {
	for _, h := range c.hosts {
		select {
		case <-c.agents[h].Done():
			c.does("revive agent", h)
			c.startAgent(h)
		default:
		}
	}
}

func (c *chaos) killEtcd() {
	c.does("kill", c.server)
	c.etcd.Kill()
	c.wait(c.rand, time.Second)
	c.startEtcd()
}

// partition cuts a host off from etcd and from the other hosts. In a long walk
// it may last until the others have forgotten the host.
func (c *chaos) partition(h *nettest.Host) {
	c.does("cut off", h)
	c.cutOff(h)
	most := chaosTTL / 4
	if c.rand.IntN(4) == 0 {
		most = min(c.lapLength()/2, chaosTTL+time.Second)
	}
	c.wait(c.rand, most)
	if c.rand.IntN(3) == 0 {
		c.killAgent(h, h)
	}
	c.letBack(h)
	c.does("let back", h)
}

// damage takes away some of what a host has of the network. It may not be
// back from the last time.
func (c *chaos) damage(h *nettest.Host) {
	for _, what := range []func(*nettest.Host){
		c.flushFDB, c.flushBridge, c.flushNeighbours, c.alterNeighbours,
		func(h *nettest.Host) { c.try(h, "ip", "link", "set", "vx-front", "down") },
		func(h *nettest.Host) { c.try(h, "ip", "link", "set", "vx-front", "nomaster") },
		func(h *nettest.Host) { c.try(h, "ip", "link", "delete", "vx-front") },
		func(h *nettest.Host) { c.try(h, "ip", "link", "delete", "bo-front") },
	} {
		if c.rand.IntN(3) == 0 {
			what(h)
		}
	}
}

func (c *chaos) try(h *nettest.Host, command string, args ...string) {
	c.does(command+" "+strings.Join(args, " "), h)
	_, _ = h.Try(command, args...)
}

func (c *chaos) flushNeighbours(h *nettest.Host) {
	c.try(h, "ip", "neighbour", "flush", "dev", "bo-front", "nud", "permanent")
}

// alterNeighbours gives the addresses elsewhere to a MAC that nobody has.
func (c *chaos) alterNeighbours(h *nettest.Host) {
	c.does("alter neighbours", h)
	for _, line := range forwarding(h) {
		if addr, _, is := strings.Cut(line, " is "); is {
			_, _ = h.Try("ip", "neighbour", "replace", addr, "lladdr", "02:00:00:00:de:ad", "dev", "bo-front", "nud", "permanent")
		}
	}
}

// flushFDB removes the forwarding entries of the VXLAN device, and flushBridge
// those of the bridge that lead there. (bridge fdb flush does the first since
// Linux 6.7 only.)
func (c *chaos) flushFDB(h *nettest.Host)    { c.flush(h, "dst", "self") }
func (c *chaos) flushBridge(h *nettest.Host) { c.flush(h, "master", "master") }

func (c *chaos) flush(h *nettest.Host, word, of string) {
	c.does("flush "+of, h)
	out, _ := h.Try("bridge", "fdb", "show", "dev", "vx-front")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == word {
			_, _ = h.Try("bridge", "fdb", "delete", f[0], "dev", "vx-front", of)
		}
	}
}

// lastBlow does to every host what an agent has to notice by itself: no other
// harm follows that would mend it, as a new agent or a new device does.
func (c *chaos) lastBlow() {
	for i := range c.hosts {
		c.awaitAgent(i)
		c.readdress(i)
	}
	for i, h := range c.hosts {
		c.awaitAgent(i)
		c.eventually("the VTEP of "+h.Name, func() error { return c.compareVTEP(i) })
		c.alterNeighbours(h)
		if i%2 == 0 {
			c.flushBridge(h)
		} else {
			c.flushFDB(h)
		}
	}
}

// readdress gives a host its other address on the underlay, sometimes after a
// while without any. The second one is of another length, or the kernel would
// remove it with the first one of its subnet (promote_secondaries).
func (c *chaos) readdress(host int) {
	h, was := c.hosts[host], c.at[host]
	first, second := fmt.Sprintf("192.0.2.%d", host+1), fmt.Sprintf("192.0.2.%d", host+51)
	is, prefix := first, first+"/24"
	if was == first {
		is, prefix = second, second+"/25"
	}
	c.does("readdress", h)
	add := func() { h.Run("ip", "address", "add", prefix, "dev", "eth0") }
	remove := func() { h.Run("ip", "address", "flush", "dev", "eth0", "to", was+"/32") }
	steps := []func(){add, remove}
	if c.rand.IntN(2) == 0 {
		slices.Reverse(steps)
	}
	steps[0]()
	c.wait(c.rand, 500*time.Millisecond)
	steps[1]()
	c.at[host] = is
	c.does("address "+is, h)
}
