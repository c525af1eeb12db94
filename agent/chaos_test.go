package agent_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
)

// chaosSeconds in the environment bounds the walk, not what follows it; 12
// without it.
const chaosSeconds = "BERTH_CHAOS_SECONDS"

// chaosMembers bounds the containers: at the end everyone asks everyone.
const chaosMembers = 24

// TestChaos kills agents and etcd, cuts hosts off and damages the third
// host's devices while containers come and go. At the end every host's
// entries are those of the containers that are left, no address was given
// twice, and two containers that nobody touched never lost a packet.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("a walk of 12 s")
	}
	t.Parallel()
	seconds, err := strconv.Atoi(cmp.Or(os.Getenv(chaosSeconds), "12"))
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &chaos{world: newWorld(t, 3), rand: rand.New(rand.NewPCG(seed, 0))}
	a, b := c.add(c.hosts[0], "calm1"), c.add(c.hosts[1], "calm2")
	c.everyPair([]*member{a, b})
	ping := a.Background("ping", "-i", "0.1", "-W", "2", "-q", b.ips[0].String())
	c.members = []*member{a, b}
	for begin := time.Now(); time.Since(begin) < time.Duration(seconds)*time.Second; {
		c.step()
	}
	if err := ping.Signal(2); err != nil {
		t.Fatal(err)
	}
	<-ping.Done()
	if out := ping.Output(); !strings.Contains(out, " 0% packet loss") {
		t.Errorf("the untouched containers lost packets:\n%s", out)
	}
	c.heal()
	for _, h := range c.hosts {
		c.eventually("the entries of "+h.Name, func() error { return c.compare(h) })
	}
	c.everyPair(c.members)
}

type chaos struct {
	*world
	rand    *rand.Rand
	members []*member // the first two are never touched
	n       int
}

func (c *chaos) step() {
	h := c.hosts[c.rand.IntN(len(c.hosts))]
	third := c.hosts[2]
	switch c.rand.IntN(10) {
	case 0, 1, 2, 3:
		if len(c.members) < chaosMembers {
			c.come(h)
		}
	case 4, 5:
		if len(c.members) > 2 {
			i := 2 + c.rand.IntN(len(c.members)-2)
			c.del(c.members[i])
			c.members = slices.Delete(c.members, i, i+1)
		}
	case 6:
		c.agents[h].Kill()
		c.startAgent(h)
	case 7:
		c.etcd.Kill()
		c.startEtcd()
	case 8:
		_, _ = third.Try("ip", "neighbour", "flush", "dev", "bo-front", "nud", "permanent")
		_, _ = third.Try("ip", "link", "delete", "vx-front")
	case 9:
		third.Run("nft", "add", "table", "inet", "partition")
		third.Run("nft", "add", "chain", "inet", "partition", "in", "{ type filter hook input priority 0; policy drop; }")
		time.Sleep(time.Duration(c.rand.IntN(1500)) * time.Millisecond) // how long the host is cut off is part of the walk
		third.Run("nft", "delete", "table", "inet", "partition")
	}
}

// come adds a container. Try again later is an answer while all is upside
// down; an address that another has is not.
func (c *chaos) come(h *nettest.Host) {
	c.n++
	container := h.NewContainer(fmt.Sprintf("c%d", c.n))
	container.Run("ip", "link", "set", "lo", "up")
	r, err := tryAdd(h, request(container))
	if err != nil {
		return
	}
	m := &member{Container: container, host: h}
	for _, ip := range r.IPs {
		m.ips = append(m.ips, ip.Address.Addr())
		for _, other := range c.members {
			if slices.Contains(other.ips, ip.Address.Addr()) {
				c.Errorf("%s was given to %s and %s", ip.Address, other.Name, m.Name)
			}
		}
	}
	c.members = append(c.members, m)
}

func (c *chaos) heal() {
	for _, h := range c.hosts {
		c.agents[h].Kill()
		c.startAgent(h)
	}
}

// compare holds a host's neighbour and forwarding entries against the
// containers that there are.
func (c *chaos) compare(h *nettest.Host) error {
	var want []string
	here := false
	for _, m := range c.members {
		if m.host == h {
			here = true
			continue
		}
		for _, ip := range m.ips {
			want = append(want, ip.String())
		}
	}
	if !here {
		return nil
	}
	var have []string
	for _, line := range strings.Split(h.Run("ip", "neighbour", "show", "dev", "bo-front", "nud", "permanent"), "\n") {
		if f := strings.Fields(line); len(f) > 0 {
			if a, err := netip.ParseAddr(f[0]); err == nil && !a.IsMulticast() {
				have = append(have, a.String())
			}
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	fdb := strings.Count(h.Run("bridge", "fdb", "show", "dev", "vx-front"), " dst ")
	if !slices.Equal(want, have) || fdb != len(want)/2 {
		return errors.Join(fmt.Errorf("%d FDB entries, neighbours %v\nwant %v", fdb, have, want))
	}
	return nil
}
