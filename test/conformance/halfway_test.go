package conformance

import (
	"strings"
	"testing"
)

// An ADD that cannot have what it needs leaves nothing, and the DEL that a
// runtime sends after it succeeds.
func TestAddThatFailsHalfway(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		if !d.addresses {
			t.Skip("it needs nothing that could be missing")
		}
		d.keys = strings.ReplaceAll(d.keys, "10.77.0.0/24", "10.77.0.0/30")
		w := newWorld(t, d)
		w.must("ADD", w.conf("1.0.0", "")) // /30 has the gateway and one more
		w.newContainer("c2")
		before := w.inventory()
		for _, c := range []struct {
			why, keys, words string
			code             int
		}{
			{"range is full", "", "10.77.0.0/30", 11},
			{"address is another's", `, "runtimeConfig": {"ips": ["10.77.0.2"]}`, "10.77.0.2", 11},
			{"address is the gateway's", `, "runtimeConfig": {"ips": ["10.77.0.1"]}`, "10.77.0.1", 7},
			{"address is out of range", `, "runtimeConfig": {"ips": ["10.88.0.1"]}`, "10.88.0.1", 7},
		} {
			got := w.refused("ADD", w.conf("1.0.0", c.keys), "CNI_CONTAINERID=c2")
			if got.Code != c.code || !strings.Contains(got.Msg, c.words) {
				t.Errorf("%s: %+v, want code %d and %q", c.why, got, c.code, c.words)
			}
			w.expectSame(before, "an ADD whose "+c.why)
			w.must("DEL", w.conf("1.0.0", c.keys), "CNI_CONTAINERID=c2")
		}
		w.expectSame(before, "their DELs")
	})
}

// Many at once get an address each, and leave nothing.
func TestManyAtOnce(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		const containers = 8
		w := newWorld(t, d)
		conf := w.conf("1.0.0", "")
		w.must("ADD", conf)
		w.must("DEL", conf)
		idle := w.inventory()
		paths := make([]string, containers)
		for i := range paths {
			w.newContainer("m" + string(rune('0'+i)))
			paths[i] = w.netns
		}
		results := w.together("ADD", conf, paths)
		seen := map[string]bool{}
		for _, r := range results {
			if d.addresses && seen[addressesOf(t, r)] {
				t.Errorf("addresses %s were given twice", addressesOf(t, r))
			}
			seen[addressesOf(t, r)] = true
		}
		w.together("DEL", conf, paths)
		w.expectSame(idle, "ADD and DEL of many at once")
	})
}

// together runs a verb for every container at the same time.
func (w *world) together(verb, conf string, paths []string) []string {
	w.t.Helper()
	answers := make(chan answer, len(paths))
	for i, path := range paths {
		env := w.env(verb, "CNI_NETNS="+path, "CNI_CONTAINERID=m"+string(rune('0'+i)))
		go func() { answers <- w.run(env, conf) }()
	}
	var out []string
	for range paths {
		a := <-answers
		if a.code != 0 || a.stderr != "" {
			w.t.Errorf("%s: %+v", verb, a)
		}
		out = append(out, a.stdout)
	}
	return out
}
