package conformance

import (
	"slices"
	"strings"
	"testing"
)

// bad is an ADD that must be refused: the change to a good one, the codes that
// the specification allows for it, and words that name the culprit.
type bad struct {
	name  string
	env   []string
	conf  func(w *world) string // nil: a good one
	codes []int
	words string
}

func with(keys string) func(*world) string {
	return func(w *world) string { return w.conf("1.1.0", ", "+keys) }
}

func raw(stdin string) func(*world) string { return func(*world) string { return stdin } }

var badInputs = []bad{
	{"no stdin", nil, raw(""), []int{6}, "stdin"},
	{"broken JSON", nil, raw(`{"cniVersion": "1.1.0", `), []int{6}, "configuration"},
	{"JSON of another kind", nil, raw(`"name"`), []int{6}, "configuration"},
	{"no name", nil, raw(`{"cniVersion": "1.1.0"}`), []int{7}, "name"},
	{"name with a slash", nil, with(`"name": "a/b"`), []int{7}, "name"},
	{"name with dots", nil, with(`"name": "../../etc"`), []int{7}, "name"},
	{"type with a slash", nil, with(`"type": "../bridge"`), []int{7}, "type"},
	{"version unknown", nil, with(`"cniVersion": "2.0.0"`), []int{1}, "cniVersion"},

	{"unknown command", []string{"CNI_COMMAND=BOIL"}, nil, []int{4}, "CNI_COMMAND"},
	{"no container", []string{"CNI_CONTAINERID"}, nil, []int{4}, "CNI_CONTAINERID"},
	{"container with a slash", []string{"CNI_CONTAINERID=../c1"}, nil, []int{4}, "CNI_CONTAINERID"},
	{"no ifname", []string{"CNI_IFNAME"}, nil, []int{4}, "CNI_IFNAME"},
	{"ifname too long", []string{"CNI_IFNAME=sixteen-bytes-xx"}, nil, []int{4}, "CNI_IFNAME"},
	{"ifname with a slash", []string{"CNI_IFNAME=a/b"}, nil, []int{4}, "CNI_IFNAME"},
	{"ifname with a colon", []string{"CNI_IFNAME=a:b"}, nil, []int{4}, "CNI_IFNAME"},
	{"ifname with a space", []string{"CNI_IFNAME=a b"}, nil, []int{4}, "CNI_IFNAME"},
	{"no netns", []string{"CNI_NETNS"}, nil, []int{4}, "CNI_NETNS"},
	{"netns is missing", []string{"CNI_NETNS=/run/netns/nobody"}, nil, []int{4}, "CNI_NETNS"},
	{"netns is a file", []string{"CNI_NETNS=/etc/hostname"}, nil, []int{4}, "CNI_NETNS"},
	{"netns is a directory", []string{"CNI_NETNS=/run"}, nil, []int{4}, "CNI_NETNS"},
	{"netns is a namespace of another kind", []string{"CNI_NETNS=/proc/self/ns/mnt"}, nil, []int{4}, "CNI_NETNS"},
	{"args", []string{"CNI_ARGS=IP"}, nil, []int{4}, "CNI_ARGS"},
	{"args unknown", []string{"CNI_ARGS=COLOUR=red"}, nil, []int{4}, "COLOUR"},
	{"args address", []string{"CNI_ARGS=IP=10.77.0.300"}, nil, []int{4}, "IP"},
	{"args MAC", []string{"CNI_ARGS=MAC=02:xx"}, nil, []int{4}, "MAC"},

	{"prevResult of another kind", nil, with(`"prevResult": 7`), []int{6}, "prevResult"},
	{"prevResult of no version", nil, with(`"prevResult": {"cniVersion": "7.7.7"}`), []int{1}, "prevResult"},
	{"prevResult without its interface", nil, with(`"prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.1.1.1/8", "interface": 4}]}`), []int{7}, "prevResult"},
	{"runtimeConfig port", nil, with(`"runtimeConfig": {"portMappings": [{"hostPort": 70000, "containerPort": 1, "protocol": "tcp"}]}`), []int{7}, "hostPort"},
	{"runtimeConfig address", nil, with(`"runtimeConfig": {"ips": ["lan"]}`), []int{7}, "runtimeConfig.ips[0]"},
	{"runtimeConfig MAC", nil, with(`"runtimeConfig": {"mac": "ff:ff:ff:ff:ff:ff"}`), []int{7}, "runtimeConfig.mac"},
}

// Whatever is wrong, the code is the specification's, the message names the
// key or variable, and nothing is left behind.
func TestBadInput(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		w := newWorld(t, d)
		before := w.inventory()
		for _, b := range badInputs {
			w.expectBad(b)
		}
		w.expectSame(before, "every bad ADD")
		w.must("ADD", w.conf("1.1.0", "")) // the good one, for comparison
	})
}

func (w *world) expectBad(b bad) {
	w.t.Helper()
	conf := w.conf("1.1.0", "")
	if b.conf != nil {
		conf = b.conf(w)
	}
	got := w.run(w.env("ADD", b.env...), conf).failure(w.t)
	if !slices.Contains(b.codes, got.Code) || !strings.Contains(got.Msg+got.Details, b.words) {
		w.t.Errorf("%s: code %d, %q; want a code of %v and %q in it", b.name, got.Code, got.Msg, b.codes, b.words)
	}
}

// A container that cannot be served as it is.
func TestUnfitNamespace(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		w := newWorld(t, d)
		conf := w.conf("1.0.0", "")
		w.must("ADD", conf)
		w.must("DEL", conf)
		before := w.inventory()
		switch {
		case d.sharesHost:
			w.host.Run("ip", "netns", "add", "own")
			got := w.refused("ADD", conf, "CNI_NETNS=/run/netns/own")
			if got.Code != 4 || !strings.Contains(got.Msg, "CNI_NETNS") || !strings.Contains(got.Msg, "--net-host") {
				t.Errorf("%+v does not say what the runtime must do", got)
			}
		case !strings.HasSuffix(d.name, "-ipam") && d.name != "host-local":
			if got := w.refused("ADD", conf, "CNI_NETNS=/proc/self/ns/net"); got.Code != 4 || !strings.Contains(got.Msg, "CNI_NETNS") {
				t.Errorf("the host's own namespace: %+v", got)
			}
		}
		if d.device {
			w.expectTaken(conf)
		}
		w.expectSame(before, "a refused ADD")
	})
}

// expectTaken wants a device of the name to be left alone.
func (w *world) expectTaken(conf string) {
	w.t.Helper()
	if out, err := w.inside("ip", "link", "add", "eth0", "type", "bridge"); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	if got := w.refused("ADD", conf); !strings.Contains(got.Msg, "eth0") {
		w.t.Errorf("CNI_IFNAME that is taken: %+v", got)
	}
	if out, err := w.inside("ip", "-d", "link", "show", "eth0"); err != nil || !strings.Contains(out, "bridge") {
		w.t.Errorf("the device that had the name: %v: %s", err, out)
	}
	w.must("DEL", conf)
}
