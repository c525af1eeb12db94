package macvlan_test

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
)

func TestParentsThatCannotServe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare []string // ip commands on the host
		config  string
		words   []string
	}{
		"missing":          {nil, with(layer2, "mode", `"bridge"`), []string{"master", `"eth9"`, "the host has no device"}},
		"no default route": {[]string{"route del default"}, ipv4Only, []string{"master", "no default route"}},
		"loopback":         {nil, master(layer2, "lo"), []string{"master lo", "loopback"}},
		"not Ethernet":     {[]string{"tuntap add tun0 mode tun"}, master(layer2, "tun0"), []string{"master tun0", "Ethernet"}},
		"too small":        {nil, with(layer2, "mtu", "9000"), []string{"mtu: 9000", "1500"}},
		"a bridge's port":  {[]string{"link add br0 type bridge", "link set eth0 master br0"}, layer2, []string{"port of bridge br0", "use br0 as the master"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, command := range c.prepare {
				w.host.Run("ip", strings.Fields(command)...)
			}
			if name == "missing" {
				c.config = master(c.config, "eth9")
			}
			container := w.host.NewContainer("c1")
			_, err := tryAdd(w.host, request(container, c.config))
			wantError(t, err, plugins.CodeInvalidConfig, c.words...)
			if got := container.Run("ip", "link"); strings.Contains(got, "eth0") {
				t.Errorf("left behind:\n%s", got)
			}
			w.hasNoRecord(request(container, c.config))
		})
	}
}

func TestPassthruTakesTheParentAlone(t *testing.T) {
	t.Parallel()
	passthru := with(layer2, "mode", `"passthru"`)
	for name, c := range map[string]struct{ first, second, word string }{
		"after another passthru": {passthru, passthru, "takes the parent alone"},
		"after a bridge":         {layer2, passthru, "takes the parent alone"},
		"a bridge after it":      {passthru, layer2, "has it alone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first, second := request(w.host.NewContainer("c1"), c.first), request(w.host.NewContainer("c2"), c.second)
			w.add(first)
			_, err := tryAdd(w.host, second)
			wantError(t, err, plugins.CodeInvalidConfig, "eth0", "lan/c1/eth0", c.word)
			if err := del(w.host, first); err != nil {
				t.Fatal(err)
			}
			w.add(second)
		})
	}
}

func TestManyNetworksShareAParent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c1, c2 := w.host.NewContainer("c1"), w.host.NewContainer("c2")
	r1 := w.add(request(c1, dual))
	other := request(c2, strings.ReplaceAll(dual, "192.0.2.100", "192.0.2.200"))
	other.Name = "lan2"
	w.add(other)
	c2.Ping(r1.IPs[0].Address.Addr().String())
}

func TestTheParentMayBeInTheContainer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, config := range map[string]string{
		"c1": with(master(dual, "uplink"), "linkInContainer", "true"),
		"c2": with(ipv4Only, "linkInContainer", "true"),
	} {
		c := w.host.NewContainer(name)
		w.segment.Join(c.Host, "uplink", "192.0.2.5"+name[1:]+"/24")
		c.Run("ip", "route", "add", "default", "dev", "uplink")
		req := request(c, config)
		w.add(req)
		if got := c.Run("ip", "link", "show", "eth0"); !strings.Contains(got, "eth0@uplink") {
			t.Errorf("%s: not on the container's own device:\n%s", name, got)
		}
		if err := check(w.host, req); err != nil {
			t.Error(err)
		}
		if err := del(w.host, req); err != nil {
			t.Error(err)
		}
		if got := c.Run("ip", "link"); strings.Contains(got, "eth0@") || !strings.Contains(got, "uplink") {
			t.Errorf("%s after DEL:\n%s", name, got)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := status(w.host, dual); err != nil {
		t.Errorf("all is well, but: %v", err)
	}
	wantError(t, status(w.host, master(dual, "eth9")), plugins.CodeNotAvailable, "eth9")
	w.host.Run("ip", "link", "set", "eth0", "down")
	wantError(t, status(w.host, dual), plugins.CodeNotAvailable, "eth0 is down")
}

// master is the configuration on another parent.
func master(config, name string) string {
	return strings.Replace(config, `"master":"eth0"`, `"master":"`+name+`"`, 1)
}
