package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/nettest"
)

// crowd is the containers of one host that come and go, by the plugin's
// binary.
type crowd struct {
	*chaos
	turn    sync.Mutex // whose it is uses the rest
	host    *nettest.Host
	rand    *rand.Rand
	members []*member
	n       int // of containers made
}

// crowdSize bounds the containers of a host: at the end everyone asks everyone.
const crowdSize = 8

func (c *crowd) mill(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
			c.step()
			c.wait(c.rand, 100*time.Millisecond)
		}
	}
}

func (c *crowd) step() {
	c.turn.Lock()
	defer c.turn.Unlock()
	if len(c.members) >= crowdSize {
		c.leave()
	}
	choose(c.rand, []choice{
		{8, c.come},
		{5, c.leave},
		{3, c.dieComing},
		{2, c.dieLeaving},
		{1, c.vanish},
	})
}

// settle adds a container that stays.
func (c *crowd) settle() *member {
	m := c.newcomer()
	c.eventually("a container on "+c.host.Name, func() error { return c.add(m) })
	return m
}

func (c *crowd) newcomer() *member {
	c.n++
	container := c.host.NewContainer(fmt.Sprintf("%s-%d", c.host.Name, c.n))
	container.Run("ip", "link", "set", "lo", "up")
	return &member{Container: container, host: c.host}
}

// come adds a container. "Try again later" is an answer while all is upside
// down, and where devices are being deleted any is; an address that another
// has is not.
func (c *crowd) come() {
	c.note("ADD")
	m := c.newcomer()
	if err := c.add(m); err != nil {
		if c.note("ADD refused: " + err.Error()); c.isCalm() && !strings.HasPrefix(err.Error(), "code 11") {
			c.Errorf("ADD %s on %s, which is not damaged: %v", m.Name, c.host.Name, err)
		}
		c.del(m) // as runtimes do
		return
	}
	c.members = append(c.members, m)
}

// isCalm tells whether the host's devices are spared just now.
func (c *crowd) isCalm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.victim != nil && c.victim != c.host
}

func (c *crowd) leave() {
	if m := c.pick(); m != nil {
		c.note("DEL")
		c.del(m)
	}
}

// pick takes a container out of the model; nil: there is none.
func (c *crowd) pick() *member {
	if len(c.members) == 0 {
		return nil
	}
	i := c.rand.IntN(len(c.members))
	m := c.members[i]
	c.members = slices.Delete(c.members, i, i+1)
	c.forget(m)
	return m
}

// dieComing kills an ADD. The runtime tries again, or gives up, or dies too.
func (c *crowd) dieComing() {
	m := c.newcomer()
	c.kill(m, "ADD")
	switch c.rand.IntN(3) {
	case 0:
		if c.add(m) == nil {
			c.members = append(c.members, m)
			return
		}
		c.del(m)
	case 1:
		c.del(m)
	default:
		m.Remove()
	}
}

// dieLeaving kills a DEL. The runtime tries again, or dies too.
func (c *crowd) dieLeaving() {
	m := c.pick()
	if m == nil {
		return
	}
	c.kill(m, "DEL")
	if c.rand.IntN(2) == 0 {
		c.del(m)
	} else {
		m.Remove()
	}
}

// vanish ends a container of which nobody tells the plugin.
func (c *crowd) vanish() {
	if m := c.pick(); m != nil {
		c.note("container vanishes")
		m.Remove()
	}
}

// add calls the plugin and notes what it gave.
func (c *crowd) add(m *member) error {
	out, err := c.runPlugin(m, "ADD")
	if err != nil {
		return err
	}
	var result struct {
		Interfaces []struct {
			Name string `json:"name"`
		} `json:"interfaces"`
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		c.Fatalf("ADD %s: %v: %s", m.Name, err, out)
	}
	m.ips, m.port = nil, result.Interfaces[1].Name // after the container's, as the drivers list them
	for _, ip := range result.IPs {
		m.ips = append(m.ips, ip.Address.Addr())
	}
	if err := c.hold(m); err != nil {
		c.Error(err)
	}
	return nil
}

func (c *crowd) del(m *member) {
	if _, err := c.runPlugin(m, "DEL"); err != nil {
		c.Errorf("DEL %s: %v", m.Name, err)
	}
	m.Remove()
}

// runPlugin returns what the plugin printed. Its error is the plugin's.
func (c *crowd) runPlugin(m *member, verb string) (out []byte, err error) {
	cmd := pluginCall(c, c.host, c.plugin, verb, "overlay", "front", narrow, m.Container)
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	if err := c.host.Start(cmd); err != nil {
		c.Fatal(err)
	}
	if err = cmd.Wait(); err != nil {
		var told struct {
			Code    uint   `json:"code"`
			Message string `json:"msg"`
		}
		if json.Unmarshal(printed.Bytes(), &told) == nil {
			message := strings.ReplaceAll(told.Message, m.Name, "…")
			return nil, fmt.Errorf("code %d: %s", told.Code, message[:min(len(message), 120)])
		}
		return nil, fmt.Errorf("%w: %s", err, &printed)
	}
	return printed.Bytes(), nil
}

// kill ends a call at an instant that nobody knows, perhaps after its end.
func (c *crowd) kill(m *member, verb string) {
	c.note(verb + " killed")
	cmd := pluginCall(c, c.host, c.plugin, verb, "overlay", "front", narrow, m.Container)
	if err := c.host.Start(cmd); err != nil {
		c.Fatal(err)
	}
	c.wait(c.rand, 60*time.Millisecond)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// hold finds an address that was given twice: then it holds none. A container
// lets go of its own before the plugin is told.
func (c *chaos) hold(m *member) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ip := range m.ips {
		if other := c.holders[ip]; other != "" {
			return fmt.Errorf("%s was given to %s while %s has it", ip, m.Name, other)
		}
	}
	for _, ip := range m.ips {
		c.holders[ip] = m.Name
	}
	return nil
}

func (c *chaos) forget(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ip := range m.ips {
		delete(c.holders, ip)
	}
}
