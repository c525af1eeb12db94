package conformance

import (
	"slices"
	"strings"
	"testing"
)

// GC removes what is not listed, by either key, and nothing else.
func TestGC(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		w := newWorld(t, d)
		conf := w.conf("1.1.0", "")
		w.must("ADD", conf)
		w.must("DEL", conf)
		idle := w.inventory()
		for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
			w.collect(key)
			w.expectSame(idle, "GC by "+key)
		}
		w.must("ADD", conf)
		w.must("GC", conf) // as cnitool asks: no list, so nothing is valid
		w.expectSame(idle, "GC without a list")
	})
}

func (w *world) collect(key string) {
	w.t.Helper()
	conf := w.conf("1.1.0", "")
	first, one := w.netns, w.must("ADD", conf)
	w.newContainer("other")
	two := w.must("ADD", conf, "CNI_CONTAINERID=c2")

	w.must("GC", w.conf("1.1.0", `, "`+key+`": [{"containerID": "c2", "ifname": "eth0"}]`))
	if !w.driver.stateless {
		w.refused("CHECK", w.conf("1.1.0", prev(one)), "CNI_NETNS="+first)
	}
	w.must("CHECK", w.conf("1.1.0", prev(two)), "CNI_CONTAINERID=c2")
	w.must("GC", w.conf("1.1.0", `, "`+key+`": []`))
	w.must("DEL", conf, "CNI_CONTAINERID=c2")
	if !w.driver.sharesHost {
		w.removeContainer()
	}
	w.netns = first
}

// GC of one network leaves another alone.
func TestGCOfAnotherNetwork(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		w := newWorld(t, d)
		result := w.must("ADD", w.conf("1.1.0", ""))
		before := w.inventory()
		other := w.conf("1.1.0", `, "name": "net2", "cni.dev/valid-attachments": []`)
		if d.name == "bridge" || d.name == "overlay" {
			other = w.conf("1.1.0", `, "name": "net2", "bridge": "br2", "vni": 43, "cni.dev/valid-attachments": []`)
		}
		w.must("GC", other)
		if after := w.inventory(); !slices.Equal(before, after) {
			t.Errorf("GC of another network changed %q", changes(before, after))
		}
		w.must("CHECK", w.conf("1.1.0", prev(result)))
	})
}

// STATUS says that there is no address left, until there is, and changes
// nothing.
func TestStatusOfAFullRange(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		if !d.addresses {
			t.Skip("it gives no addresses")
		}
		d.keys = strings.ReplaceAll(d.keys, "10.77.0.0/24", "10.77.0.0/30")
		w := newWorld(t, d)
		conf := w.conf("1.1.0", "")
		w.must("STATUS", conf)
		w.must("ADD", conf) // /30 has the gateway and one more
		if got := w.refused("STATUS", conf); got.Code != 50 || !strings.Contains(got.Msg, "10.77.0.0/30") {
			t.Errorf("%+v", got)
		}
		w.must("DEL", conf)
		w.must("STATUS", conf)
		w.must("ADD", conf)
		if !d.sharesHost {
			w.removeContainer() // and nobody says DEL: the next ADD ends it
			w.must("STATUS", conf)
		}
	})
}
