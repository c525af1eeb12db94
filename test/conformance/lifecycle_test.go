package conformance

import "testing"

// An attachment's whole life, in every version.
func TestLifecycle(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		for _, version := range versions {
			t.Run(version, func(t *testing.T) {
				t.Parallel()
				newWorld(t, d).live(version)
			})
		}
	})
}

func (w *world) live(version string) {
	w.t.Helper()
	empty := w.inventory()
	conf := w.conf(version, "")
	result := w.must("ADD", conf)
	w.expectResult(version, result)
	w.verbsOf(version, result)
	w.again(version, result)
	w.must("DEL", w.conf(version, prev(result)))
	w.must("DEL", w.conf(version, prev(result)))
	w.must("DEL", conf, "CNI_NETNS=")
	w.expectGone(version, result)
	w.expectIdle(empty)
}

// verbsOf asks every verb of an attachment that stands.
func (w *world) verbsOf(version, result string) {
	w.t.Helper()
	requests := map[string]string{
		"CHECK":  w.conf(version, prev(result)),
		"STATUS": w.conf(version, ""),
		"GC":     w.conf(version, `, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]`),
	}
	for _, verb := range []string{"CHECK", "STATUS", "GC", "CHECK"} {
		if has(version, verb) {
			w.must(verb, requests[verb])
			continue
		}
		if got := w.refused(verb, requests[verb]); got.Code != 1 || got.CNIVersion != version {
			w.t.Errorf("%s at %s: %+v, want code 1", verb, version, got)
		}
	}
}

// again repeats an ADD, which must not disturb what stands.
func (w *world) again(version, result string) {
	w.t.Helper()
	conf := w.conf(version, "")
	if w.driver.repeatable {
		if got := w.must("ADD", conf); got != result {
			w.t.Errorf("a second ADD gives %s, the first gave %s", got, result)
		}
		return
	}
	w.refused("ADD", conf)
	if has(version, "CHECK") {
		w.must("CHECK", w.conf(version, prev(result)))
	}
}

func (w *world) expectGone(version, result string) {
	w.t.Helper()
	if w.driver.device {
		if out, err := w.inside("ip", "link", "show", "eth0"); err == nil {
			w.t.Errorf("eth0 is still there after DEL: %s", out)
		}
	}
	if has(version, "CHECK") {
		w.refused("CHECK", w.conf(version, prev(result)))
	}
}

// However the container ends, its DEL succeeds and nothing is left.
func TestDelWhateverIsGone(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		w := newWorld(t, d)
		conf := w.conf("1.0.0", "")
		w.must("ADD", conf)
		w.must("DEL", conf)
		idle := w.inventory()

		w.must("ADD", conf)
		w.must("DEL", conf, "CNI_NETNS=")
		w.expectSame(idle, "DEL with an empty CNI_NETNS")
		if d.sharesHost {
			return
		}
		for name, end := range map[string]func(){
			"netns and its path are gone": w.removeContainer,
			"netns is gone, not its path": w.killContainer,
			"path is another netns":       func() { w.removeContainer(); w.newContainer("c2") },
		} {
			w.newContainer("c2")
			w.must("ADD", conf)
			end()
			w.must("DEL", conf)
			w.must("DEL", conf)
			w.removeContainer()
			w.expectSame(idle, "DEL when the "+name)
		}
	})
}

// A container that died without DEL, and comes again under its name, gets its
// place back.
func TestAddAfterTheContainerDied(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		if d.sharesHost {
			t.Skip("the host's namespace does not die")
		}
		w := newWorld(t, d)
		conf := w.conf("1.0.0", "")
		before := w.must("ADD", conf)
		w.removeContainer()
		w.newContainer("c1")
		after := w.must("ADD", conf)
		w.must("CHECK", w.conf("1.0.0", prev(after)))
		if a, b := addressesOf(t, before), addressesOf(t, after); a != b {
			t.Errorf("addresses %s, and %s before it died", b, a)
		}
		w.must("DEL", conf)
	})
}
