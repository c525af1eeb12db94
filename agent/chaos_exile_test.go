package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// exile cuts a host off until its addresses are free for the others, and lets
// it back. Its containers keep the addresses that nobody has taken meanwhile.
// Until the host has left its network nobody may take any.
func (c *chaos) exile(host int) {
	h, own := c.hosts[host], c.crowds[host]
	isOver := c.watchTraffic(host, chaosReclaim)
	own.turn.Lock()
	defer own.turn.Unlock()
	c.does("exile", h)
	c.cutOff(h)
	for !isOver() {
		c.wait(c.rand, chaosTTL/4)
	}
	c.awaitState(host, "DOWN")
	for _, m := range c.on(host) {
		c.forget(m)
	}
	c.eventually("the addresses of "+h.Name+" to be free", func() error {
		answer := c.kv("range", fmt.Sprintf(`{"key":%q,"range_end":%q}`, key64("/berth/v1/blocks/"), key64("/berth/v1/blocks0")))
		for _, kv := range answer.Kvs {
			if string(kv.Value) == `{"host":"`+h.Name+`"}` {
				return fmt.Errorf("%s is its own", kv.Key)
			}
		}
		return nil
	})
	for _, other := range c.crowds {
		if other != own {
			other.turn.Lock()
			defer other.turn.Unlock()
		}
	}
	c.letBack(h)
	c.awaitState(host, "UNKNOWN") // a VXLAN device that is up knows no more
	c.does("back", h)
	c.takeBack(host)
}

func (c *chaos) awaitState(host int, state string) {
	h := c.hosts[host]
	c.eventually("vx-front of "+h.Name+" to be "+state, func() error {
		out, _ := h.Try("ip", "-br", "link", "show", "vx-front")
		if f := strings.Fields(out); len(f) < 2 || f[1] != state {
			return errors.New(out)
		}
		return nil
	})
}

// takeBack ends the containers of a host whose addresses others have got, given
// to a container or not.
func (c *chaos) takeBack(host int) {
	own := c.crowds[host]
	for _, m := range c.on(host) {
		if c.owns(m) && c.hold(m) == nil {
			continue
		}
		c.note("container loses its address")
		own.members = slices.DeleteFunc(own.members, func(other *member) bool { return other == m })
		own.del(m)
		if m == c.calm[host] {
			c.calm[host] = own.settle()
		}
	}
}

// owns tells whether a container's addresses are its host's to give.
func (c *chaos) owns(m *member) bool {
	for _, ip := range m.ips {
		subnet := "fd42::/64"
		if ip.Is4() {
			subnet = "10.42.0.0/27"
		}
		if lines := c.keysBelow(blockKey("front", subnet, ip)); len(lines) != 1 || !strings.HasSuffix(lines[0], `{"host":"`+m.host.Name+`"}`) {
			return false
		}
	}
	return true
}
