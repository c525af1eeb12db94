package test

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/berth-net/berth/nettest"
)

// script is the hosts and segments that a script has made.
type script struct {
	t        testing.TB
	hosts    map[string]*nettest.Host
	switches map[string]*nettest.Switch
}

type scriptKey struct{}

var commands = map[string]func(*testscript.TestScript, bool, []string){
	"host":      host,
	"image":     demoImage,
	"container": container,
	"link":      link,
	"switch":    newSwitch,
	"join":      join,
}

func of(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

func usage(ts *testscript.TestScript, bad bool, text string) {
	if bad {
		ts.Fatalf("usage: %s", text)
	}
}

// host NAME... makes hosts.
func host(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) == 0, "host NAME...")
	s := of(ts)
	for _, name := range args {
		h := nettest.NewHost(s.t, name)
		s.add(ts, name, h)
		// A script that fails in the middle leaves no container behind either.
		s.t.Cleanup(func() { removeContainers(s.t, h) })
	}
}

func removeContainers(t testing.TB, h *nettest.Host) {
	bin, err := built()
	if err != nil {
		return // nothing has run
	}
	if out, err := h.Try("sh", "-c", `for id in $("$0" ps -aq); do "$0" rm -f "$id"; done`, bin+"/berth"); err != nil {
		t.Errorf("remove containers of host %s: %v: %s", h.Name, err, out)
	}
}

// add makes the host known to the script, and to the program in by the
// environment.
func (s *script) add(ts *testscript.TestScript, name string, h *nettest.Host) {
	if s.hosts == nil {
		s.hosts = map[string]*nettest.Host{}
	}
	s.hosts[name] = h
	network, mount := h.Namespaces()
	ts.Setenv(hostVariable(name), network+":"+mount)
}

func (s *script) host(ts *testscript.TestScript, name string) *nettest.Host {
	h := s.hosts[name]
	if h == nil {
		ts.Fatalf("no host %q", name)
	}
	return h
}

// image DIR writes an OCI image whose entrypoint is httpd (test/httpd).
func demoImage(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) != 1, "image DIR")
	ts.Check(saveDemoImage(of(ts).t.TempDir(), ts.MkAbs(args[0])))
}

// container HOST NAME pins a namespace at /run/netns/NAME of the host; the
// script calls it HOST/NAME.
func container(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) != 2, "container HOST NAME")
	s := of(ts)
	c := s.host(ts, args[0]).NewContainer(args[1])
	s.add(ts, args[0]+"/"+args[1], c.Host)
}

// link A DEV ADDRS B DEV ADDRS joins two hosts; ADDRS are parted by commas,
// and "-" is none.
func link(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) != 6, "link A DEV ADDR,... B DEV ADDR,...")
	s := of(ts)
	nettest.Link(s.host(ts, args[0]), args[1], addresses(args[2]), s.host(ts, args[3]), args[4], addresses(args[5]))
}

func addresses(list string) []string {
	if list == "-" {
		return nil
	}
	return strings.Split(list, ",")
}

// switch NAME makes an Ethernet segment.
func newSwitch(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) != 1, "switch NAME")
	s := of(ts)
	if s.switches == nil {
		s.switches = map[string]*nettest.Switch{}
	}
	for _, h := range s.hosts {
		s.switches[args[0]] = nettest.NewSwitch(h)
		return
	}
	ts.Fatalf("switch: make a host first")
}

// join SWITCH HOST DEV [ADDR,...] plugs a host into a segment.
func join(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) < 3 || len(args) > 4, "join SWITCH HOST DEV [ADDR,...]")
	s := of(ts)
	sw := s.switches[args[0]]
	if sw == nil {
		ts.Fatalf("no switch %q", args[0])
	}
	sw.Join(s.host(ts, args[1]), args[2], addresses(strings.Join(args[3:], ","))...)
}
