package macvlan_test

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
)

func TestCheckFindsEveryDifference(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		commands []string // ip commands in the container
		word     string
	}{
		"mode":    {[]string{"link set eth0 type macvlan mode private"}, "mode private"},
		"MAC":     {[]string{"link set eth0 down", "link set eth0 address 02:00:00:00:00:77", "link set eth0 up"}, "02:00:00:00:00:77"},
		"MTU":     {[]string{"link set eth0 mtu 1300"}, "MTU 1300"},
		"address": {[]string{"address del 192.0.2.100/24 dev eth0"}, "lacks address 192.0.2.100/24"},
		"IPv6":    {[]string{"address del 2001:db8::100/64 dev eth0"}, "lacks address 2001:db8::100/64"},
		"down":    {[]string{"link set eth0 down"}, "down"},
		"gone":    {[]string{"link del eth0"}, "eth0"},
		"kind":    {[]string{"link del eth0", "link add eth0 type bridge"}, "bridge"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			container := w.host.NewContainer("c1")
			req := request(container, dual)
			req.Prev = w.add(req)
			if err := check(w.host, req); err != nil {
				t.Fatalf("nothing differs, but: %v", err)
			}
			for _, command := range c.commands {
				container.Run("ip", strings.Fields(command)...)
			}
			if err := check(w.host, req); err == nil || !strings.Contains(err.Error(), c.word) {
				t.Errorf("check: %v; want %q", err, c.word)
			}
		})
	}
}

func TestCheckFindsAnotherParent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.segment.Join(w.host, "eth1")
	req := request(w.host.NewContainer("c1"), layer2)
	w.add(req)
	req.Config = []byte(master(layer2, "eth1"))
	if err := check(w.host, req); err == nil || !strings.Contains(err.Error(), "not on eth1") {
		t.Errorf("check: %v", err)
	}
}

func TestCheckOfWhatIsNotAttached(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wantError(t, check(w.host, request(w.host.NewContainer("c1"), dual)), plugins.CodeUnknownContainer, "lan/c1/eth0")
}
