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

func (c *chaos) damage(h *nettest.Host) {
	// What is to be damaged may not be back from the last time.
	try := func(args ...string) func() {
		return func() {
			c.does(strings.Join(args, " "), h)
			_, _ = h.Try(args[0], args[1:]...)
		}
	}
	for _, damage := range []func(){
		func() { c.flush(h) },
		try("ip", "neighbour", "flush", "dev", "bo-front", "nud", "permanent"),
		try("ip", "link", "set", "vx-front", "down"),
		try("ip", "link", "set", "vx-front", "nomaster"),
		try("ip", "link", "delete", "vx-front"),
		try("ip", "link", "delete", "bo-front"),
	} {
		if c.rand.IntN(3) == 0 {
			damage()
		}
	}
}

// flush removes the forwarding entries of the VXLAN device, or those of the
// bridge that lead there. (bridge fdb flush does so since Linux 6.7 only.)
func (c *chaos) flush(h *nettest.Host) {
	c.does("flush", h)
	of := []string{"self", "master"}[c.rand.IntN(2)]
	out, _ := h.Try("bridge", "fdb", "show", "dev", "vx-front")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && (of == "self") == (f[1] == "dst") {
			_, _ = h.Try("bridge", "fdb", "delete", f[0], "dev", "vx-front", of)
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
