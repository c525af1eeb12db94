package main

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/nettest"
)

// newNamesHost is a host whose upstream is a nameserver of its own at
// 127.0.0.1 that answers 198.51.100.1 for everything.
func newNamesHost(t *testing.T) (*runtimeHost, chan string) {
	t.Helper()
	h := newRuntimeHost(t)
	h.writeFile("/etc/resolv.conf", "nameserver 127.0.0.1\nsearch corp.example\noptions timeout:3\n")
	asked := make(chan string, 1000)
	handler := wire.HandlerFunc(func(w wire.ResponseWriter, m *wire.Msg) {
		asked <- m.Question[0].Name
		answer := new(wire.Msg).SetReply(m)
		if m.Question[0].Qtype == wire.TypeA {
			answer.Answer = []wire.RR{&wire.A{Hdr: wire.RR_Header{Name: m.Question[0].Name, Rrtype: wire.TypeA, Class: 1}, A: net.IPv4(198, 51, 100, 1)}}
		}
		_ = w.WriteMsg(answer)
	})
	server := &wire.Server{PacketConn: h.ListenPacket("udp", "127.0.0.1:53"), Handler: handler}
	go func() { _ = server.ActivateAndServe() }()
	return h, asked
}

func (h *runtimeHost) writeFile(path, text string) {
	h.t.Helper()
	if err := h.Do(func() error { return os.WriteFile(path, []byte(text), 0o644) }); err != nil {
		h.t.Fatal(err)
	}
}

// background runs a container that is removed with the test.
func (h *runtimeHost) background(name string, args ...string) {
	h.t.Helper()
	h.berth(append(append([]string{"run", "-d", "--name", name}, args...), h.rootfs, "sleep", "1000")...)
	h.t.Cleanup(func() { h.try("rm", "-f", name) })
}

// lookup is what a container is told of a name: addresses in order, a name, or
// NXDOMAIN.
func (h *runtimeHost) lookup(from, name string) string {
	h.t.Helper()
	r := h.try("exec", from, "nslookup", name)
	_, answer, _ := strings.Cut(r.out, "\n\n")
	var found []string
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		addr, isAddr := strings.CutPrefix(line, "Address: ")
		_, ptr, isPtr := strings.Cut(line, "name = ")
		switch {
		case isAddr:
			found = append(found, addr)
		case isPtr:
			found = append(found, ptr)
		case strings.Contains(line, "NXDOMAIN"):
			found = append(found, "NXDOMAIN")
		}
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " ")
}

func (h *runtimeHost) expectLookup(from, name, want string) {
	h.t.Helper()
	if got := h.lookup(from, name); got != want {
		h.t.Errorf("%s looks for %s: %q, want %q", from, name, got, want)
	}
}

func TestRunResolvesNames(t *testing.T) {
	t.Parallel()
	h, asked := newNamesHost(t)
	h.berth("network", "create", "--subnet", "10.99.1.0/24", "--subnet", "fd99:1::/64", "front")
	h.berth("network", "create", "--subnet", "10.99.2.0/24", "--internal", "back")
	h.background("web", "--hostname", "www.shop", "--network", "front:ip=10.99.1.77,ip6=fd99:1::77,alias=shop", "--network", "back:alias=store", "--network-alias", "all")
	h.background("app", "--network", "front", "--cap-add", "NET_RAW") // for busybox's ping
	h.background("db", "--network", "back")
	if got, want := h.berth("exec", "app", "cat", "/etc/resolv.conf"), "nameserver 127.0.0.11\nsearch corp.example\noptions timeout:3\n"; got != want {
		t.Errorf("resolv.conf: %q, want %q", got, want)
	}
	id := h.template("web", "{{.ID}}")
	for _, name := range []string{"web", "shop", "www.shop", "all", "web.front", id, id[:12], "web.corp.example"} {
		h.expectLookup("app", name, "10.99.1.77 fd99:1::77")
	}
	for _, ping := range [][]string{{"-4"}, {"-6"}} {
		if r := h.try("exec", "app", "ping", ping[0], "-c", "1", "-w", "5", "shop"); r.code != 0 {
			t.Errorf("ping %s shop: %+v", ping[0], r)
		}
	}
	h.expectLookup("app", "10.99.1.77", "web.front")
	h.expectLookup("db", "store", "10.99.2.2")
	h.expectLookup("app", "store.", "NXDOMAIN")
	h.expectLookup("db", "shop", "NXDOMAIN")
	if len(asked) > 0 {
		t.Errorf("the upstream was asked for %q", <-asked)
	}
	h.expectLookup("db", "secret.example", "NXDOMAIN")
	if len(asked) > 0 {
		t.Errorf("an internal container's question went to the upstream: %q", <-asked)
	}
	h.expectLookup("app", "www.example.org", "198.51.100.1")

	// Live.
	h.berth("network", "connect", "--alias", "late", "front", "db")
	h.expectLookup("app", "late", "10.99.1.3 fd99:1::3")
	h.expectLookup("db", "web", "10.99.1.77 10.99.2.2 fd99:1::77")
	h.expectLookup("db", "www.example.org", "198.51.100.1")
	h.berth("network", "disconnect", "front", "db")
	h.expectLookup("app", "late.", "NXDOMAIN")
	h.expectLookup("db", "www.example.org", "NXDOMAIN")
	h.berth("rm", "-f", "web")
	h.expectLookup("app", "shop.", "NXDOMAIN")
}

// The resolver is in the container's own namespace, so that it works on every
// driver, and for a container that begins with none.
func TestNamesOnEveryDriver(t *testing.T) {
	t.Parallel()
	h, _ := newNamesHost(t)
	outside := nettest.NewHost(t, "outside")
	nettest.Link(h.Host, "eth0", []string{"192.0.2.1/24"}, outside, "eth0", []string{"192.0.2.2/24"})
	h.berth("network", "create", "-d", "macvlan", "-o", "parent=eth0", "--subnet", "10.99.3.0/24", "--subnet", "fd99:3::/64", "lan")
	h.berth("network", "create", "-d", "overlay", "-o", "peers=192.0.2.2", "-o", "vni=42", "--subnet", "10.99.4.0/24", "--subnet", "fd99:4::/64", "mesh")
	for network, want := range map[string]string{"lan": "10.99.3.50 fd99:3::50", "mesh": "10.99.4.50 fd99:4::50"} {
		v4, v6, _ := strings.Cut(want, " ")
		h.background("srv-"+network, "--network", network+":ip="+v4+",ip6="+v6)
		h.background("app-"+network, "--network", network)
		h.expectLookup("app-"+network, "srv-"+network, want)
	}
	h.background("alone", "--network", "none", "--hostname", "recluse")
	h.expectLookup("alone", "srv-mesh.", "NXDOMAIN")
	h.expectLookup("alone", "www.example.org.", "NXDOMAIN")
	h.berth("network", "connect", "mesh", "alone")
	h.expectLookup("alone", "srv-mesh.", "10.99.4.50 fd99:4::50")
	h.expectLookup("alone", "www.example.org.", "198.51.100.1")
	if got := h.lookup("srv-mesh", "recluse"); !strings.HasPrefix(got, "10.99.4.") {
		t.Errorf("the host name of a container that was connected later: %q", got)
	}
}

// Where there is no place for a resolver, on the host's network and beside a
// nameserver, names are lines of /etc/hosts that follow the containers.
func TestNamesInEtcHosts(t *testing.T) {
	t.Parallel()
	h, _ := newNamesHost(t)
	machine := func() (text string) {
		if err := h.Do(func() error { raw, err := os.ReadFile("/etc/hosts"); text = string(raw); return err }); err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := machine()
	h.berth("network", "create", "--subnet", "10.99.1.0/24", "front")
	h.berth("network", "create", "--subnet", "10.99.2.0/24", "--internal", "back")
	h.background("web", "--network", "front:alias=shop")
	h.background("app", "--network", "host")
	h.background("named", "--network", "front", "-p", "127.0.0.1:5353:53/udp")
	hosts := func(from, name string) string {
		return strings.TrimSpace(h.try("exec", from, "sh", "-c", "busybox grep -w "+name+" /etc/hosts | busybox cut -f 1").out)
	}
	for _, from := range []string{"app", "named"} {
		if got := hosts(from, "shop"); got != "10.99.1.2" {
			t.Errorf("%s knows shop as %q", from, got)
		}
		if got := hosts(from, "web.front"); got != "10.99.1.2" {
			t.Errorf("%s knows web.front as %q", from, got)
		}
	}
	h.background("db", "--network", "back")
	eventually(t, "the host's container knows db", func() bool { return hosts("app", "db") == "10.99.2.2" })
	h.berth("rm", "-f", "web")
	eventually(t, "web is forgotten", func() bool { return hosts("app", "shop")+hosts("named", "shop") == "" })
	if got := hosts("named", "db"); got != "" {
		t.Errorf("a container knows db of a network that it is not on: %q", got)
	}
	if r := h.try("exec", "app", "ping", "-c", "1", "-w", "5", "db"); strings.Contains(r.err, "bad address") {
		t.Errorf("ping db: %+v", r)
	}
	if got, want := h.berth("exec", "app", "cat", "/etc/resolv.conf"), "nameserver 127.0.0.1\nsearch corp.example\noptions timeout:3\n"; got != want {
		t.Errorf("resolv.conf on the host's network: %q", got)
	}
	if got := h.berth("exec", "named", "cat", "/etc/resolv.conf"); strings.Contains(got, "127.0.0") {
		t.Errorf("resolv.conf of a nameserver: %q", got)
	}
	if r := h.try("exec", "named", "sh", "-c", "busybox nc -l -p 53 & sleep 0.1; kill $!"); strings.Contains(r.err, "in use") {
		t.Errorf("port 53 in a container that publishes it: %+v", r)
	}
	if after := machine(); after != before {
		t.Errorf("the machine's /etc/hosts has become %q", after)
	}
}

func TestRunWithNameserversOfItsOwn(t *testing.T) {
	t.Parallel()
	h, asked := newNamesHost(t)
	h.berth("network", "create", "--subnet", "10.99.1.0/24", "front")
	h.background("app", "--network", "front", "--dns", "10.99.1.1", "--dns-search", "own.example", "--dns-option", "ndots:2")
	if got, want := h.berth("exec", "app", "cat", "/etc/resolv.conf"), "nameserver 127.0.0.11\nsearch own.example\noptions ndots:2\n"; got != want {
		t.Errorf("resolv.conf: %q, want %q", got, want)
	}
	h.expectLookup("app", "app.own.example", "10.99.1.2")
	h.try("exec", "app", "nslookup", "www.example.org.")
	if len(asked) > 0 {
		t.Errorf("the host's nameserver was asked for %q", <-asked)
	}
	for _, bad := range [][]string{
		{"--dns", "resolver.example"}, {"--dns-search", "a b"}, {"--dns-search", "x\nnameserver 192.0.2.66"}, {"--dns-option", "ndots:2\n"},
		{"--network", "container:app", "--dns", "192.0.2.1"}, {"--network", "host", "--network-alias", "x"}, {"--network-alias", "no name"},
	} {
		if r := h.try(append(append([]string{"run", "--rm"}, bad...), h.rootfs, "true")...); r.code != 125 {
			t.Errorf("%q: %+v", bad, r)
		}
	}
	// One that shares the namespace asks the same resolver, also after its end.
	h.background("guest", "--network", "container:app")
	h.expectLookup("guest", "app.", "10.99.1.2")
}
