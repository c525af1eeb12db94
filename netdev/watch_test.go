package netdev_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

// What containers do to their veths is not told, but that one has left a bridge,
// of which the kernel's message does not say what it was. Of the other devices
// everything is told.
func TestAWatchIsSilentAboutVeths(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	for _, args := range [][]string{
		{"link", "add", "br0", "type", "bridge"},
		{"link", "add", "vx0", "type", "vxlan", "id", "42", "dstport", "4789"},
		{"link", "set", "vx0", "master", "br0"},
	} {
		h.Run("ip", args...)
	}
	var w *netdev.Watch
	if err := h.Do(func() (err error) { w, err = netdev.NewWatch(); return err }); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, args := range [][]string{
		{"link", "add", "v0", "type", "veth", "peer", "name", "v1"},
		{"link", "set", "v0", "alias", "x", "master", "br0", "up"},
		{"link", "set", "v1", "up"},
	} {
		h.Run("ip", args...)
	}
	h.Run("bridge", "link", "set", "dev", "vx0", "learning", "off")
	index := func(name string) (index int) {
		err := h.Do(func() error {
			c, err := netdev.Dial()
			if err != nil {
				return err
			}
			defer c.Close()
			dev, err := c.Device(name)
			if err == nil {
				index = dev.Index
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return index
	}
	bridge, vxlan, veth := index("br0"), index("vx0"), index("v0")
	events := make(chan netdev.Event)
	go func() {
		for {
			some, err := w.Next()
			if errors.Is(err, os.ErrClosed) {
				return
			}
			for _, e := range some {
				events <- e
			}
		}
	}()
	for _, step := range []struct {
		args []string
		told func(netdev.Event) bool
	}{
		{[]string{"link", "set", "br0", "up"}, func(e netdev.Event) bool { return e.Link != nil && e.Link.Index == bridge && e.Link.Up }},
		{[]string{"link", "set", "vx0", "address", "02:00:00:00:00:01"}, func(e netdev.Event) bool {
			return e.Link != nil && e.Link.Index == vxlan && e.Link.MAC.String() == "02:00:00:00:00:01"
		}},
		{[]string{"addr", "add", "10.0.0.1/24", "dev", "br0"}, func(e netdev.Event) bool { return e.Addr.String() == "10.0.0.1/24" }},
		{[]string{"link", "set", "vx0", "nomaster"}, func(e netdev.Event) bool { return e.Gone == vxlan }},
		{[]string{"link", "set", "v0", "nomaster"}, func(e netdev.Event) bool { return e.Gone == veth }},
		{[]string{"link", "del", "v0"}, nil},
		{[]string{"link", "del", "vx0"}, func(e netdev.Event) bool { return e.Gone == vxlan }},
	} {
		h.Run("ip", step.args...)
		for told := step.told == nil; !told; {
			var e netdev.Event
			select {
			case e = <-events:
			case <-time.After(nettest.Patience):
				t.Fatalf("ip %q was not told of", step.args)
			}
			told = step.told(e)
			if e.Link != nil && e.Link.Index == veth || e.Gone == veth && !told {
				t.Errorf("told of a veth: %+v", e)
			}
		}
	}
}
