package bridge_test

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
)

func onIPv6Loopback() plugins.PortMapping {
	return plugins.PortMapping{HostIP: netip.IPv6Loopback(), HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}
}

// Over TCP and UDP, in one packet and in fragments.
func TestPortOnIPv6LoopbackBesideBrNetfilter(t *testing.T) {
	nettest.RequireKernel(t, nettest.BridgeNetfilter)
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		w.brNetfilter("1")
		c := w.host.NewContainer("c1")
		udp := onIPv6Loopback()
		udp.Protocol = "udp"
		req := request(c, "front", config(1, with(backend)), onIPv6Loopback(), udp)
		mac := w.add(req).Interfaces[2].MAC.String()
		serve(t, c.Host, 80)
		echoUDP(c.Host, 80)
		w.reaches(w.host, "[::1]:8080", "")
		w.cannotReach(w.lan, "[2001:db8::1]:8080")
		for _, size := range []int{10, 4000} {
			if got := w.echo("[::1]:8080", size); got != size {
				t.Errorf("of a datagram of %d bytes %d come back", size, got)
			}
		}
		if err := w.check(req); err != nil {
			t.Error(err)
		}
		w.host.Run("bridge", "fdb", "del", mac, "dev", w.port(req), "master")
		if err := w.check(req); err == nil || !strings.Contains(err.Error(), "br_netfilter") {
			t.Errorf("CHECK of a container whose bridge does not know it: %v", err)
		}
		w.reloadShortcuts()
		if err := w.check(req); err != nil {
			t.Error(err)
		}
		w.host.Run("tc", "qdisc", "del", "dev", w.port(req), "clsact")
		if err := w.check(req); err == nil || !strings.Contains(err.Error(), "br_netfilter") {
			t.Errorf("CHECK of a container whose way around br_netfilter is gone: %v", err)
		}
	})
}

// br_netfilter comes when Docker or Kubernetes does, and a reload answers it.
func TestReloadAnswersBrNetfilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.brNetfilter("1")
	w.brNetfilter("0")
	conf := config(1, `"icc":false,`)
	c, d := w.host.NewContainer("c"), w.host.NewContainer("d")
	w.add(request(c, "front", conf))
	req := request(d, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	w.add(req)
	serve(t, d.Host, 80)
	works := func(yes bool) {
		t.Helper()
		expect := w.cannotReach
		if yes {
			expect = func(h *nettest.Host, address string) { w.Helper(); w.reaches(h, address, "") }
		}
		expect(w.host, "[::1]:8080")
		expect(c.Host, "192.0.2.1:8080")
		expect(c.Host, "[2001:db8::1]:8080")
	}
	works(true)
	w.brNetfilter("1")
	works(false)
	w.reloadShortcuts()
	works(true)
	if err := w.check(req); err != nil {
		t.Error(err)
	}
}

// What the bridge does not see it does not learn from, and would send to all.
func TestShortcutIsNobodyElsesBusiness(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.brNetfilter("1")
	conf := config(1, "")
	c, other := w.host.NewContainer("c"), w.host.NewContainer("other")
	r := w.add(request(c, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	w.add(request(other, "front", conf))
	serve(t, c.Host, 80)
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2") // and neighbours know each other
	w.host.Run("bridge", "fdb", "flush", "dev", "br1", "dynamic")
	seen := other.Sniff("eth0")
	for range 3 {
		w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	}
	other.Run("ping", "-c1", "-W2", "10.1.0.1") // the last that is heard
	for _, f := range seen.Frames() {
		if src, dst, protocol, _ := f.IP(); protocol == unix.IPPROTO_TCP {
			t.Fatalf("a neighbour of %s sees TCP from %s to %s", address(r, true), src, dst)
		}
	}
}

// Where there is no way around br_netfilter a port on ::1 is refused, alone or
// among others, and the others are not.
func TestPortOnIPv6LoopbackIsRefusedWithoutAShortcut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.brNetfilter("1")
	c := w.host.NewContainer("c1")
	everywhere := plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}
	both := strings.Replace(config(1, `"bindAddress":["127.0.0.1","::1"],`), `"isDefaultGateway":true,`, "", 1)
	for _, req := range []*plugins.Request{
		request(c, "front", strings.Replace(config(1, ""), `"isDefaultGateway":true,`, "", 1), onIPv6Loopback()),
		request(c, "front", both, everywhere),
		request(c, "front", config(1, `"vlan":5,`), onIPv6Loopback()),
	} {
		if _, err := w.tryAdd(req); err == nil || !strings.Contains(err.Error(), "[::1]:8080/tcp") || !strings.Contains(err.Error(), "net.bridge.bridge-nf-call-ip6tables") {
			t.Errorf("%s: %v", req.Config, err)
		}
	}
	alone := request(c, "front", strings.Replace(config(1, ""), `"isDefaultGateway":true,`, "", 1), everywhere)
	w.warned(w.add(alone), "::1", "isGateway")
	w.del(alone)
	w.brNetfilter("0")
	w.warned(w.add(request(c, "front", both, everywhere)))
}

// warned wants one warning with all of the words, or none.
func (w *world) warned(r *plugins.Result, words ...string) {
	w.Helper()
	if len(words) == 0 && len(r.Warnings) == 0 {
		return
	}
	if len(words) == 0 || len(r.Warnings) != 1 {
		w.Errorf("warnings %q, want one of %q", r.Warnings, words)
		return
	}
	for _, word := range words {
		if !strings.Contains(r.Warnings[0], word) {
			w.Errorf("warning %q has no %q", r.Warnings[0], word)
		}
	}
}

func (w *world) reloadShortcuts() {
	w.Helper()
	w.onRecords(func(d *bridge.Driver, records []*endpoint.Record) error { return d.Reload(records) })
}

// port is the host's end of an attachment.
func (w *world) port(req *plugins.Request) string {
	return netdev.HostName("veth", req.Name, req.ContainerID, req.IfName)
}

// echoUDP answers each datagram with itself.
func echoUDP(h *nettest.Host, port int) {
	pc := h.ListenPacket("udp6", at("::", port))
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(buf[:n], from)
		}
	}()
}

// echo sends a datagram from the host and returns how much of it comes back.
func (w *world) echo(address string, size int) int {
	w.Helper()
	c, err := w.host.Dial(w.Context(), "udp", address)
	if err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	c.Write(make([]byte, size))
	n, _ := c.Read(make([]byte, 1<<16))
	return n
}

// inUserNamespace tells the test below that it runs in one.
const inUserNamespace = "BERTH_TEST_IN_USER_NAMESPACE"

// In a user namespace the kernel loads no program, so there is no shortcut: a
// port on ::1 is refused, and ADD and CHECK do without for all others.
func TestPortsInAUserNamespace(t *testing.T) {
	t.Parallel()
	if os.Getenv(inUserNamespace) == "" {
		nettest.RequireNamespaces(t)
		binary, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "unshare", "-rn", binary, "-test.run=^TestPortsInAUserNamespace$", "-test.v")
		cmd.Env = append(os.Environ(), inUserNamespace+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	w := newWorld(t)
	w.brNetfilter("1")
	c, d := w.host.NewContainer("c"), w.host.NewContainer("d")
	req := request(c, "front", config(1, `"ipMasq":true,`), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	w.warned(w.add(req), "::1", "CAP_BPF")
	serve(t, c.Host, 80)
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	if err := w.check(req); err != nil {
		t.Error(err)
	}
	w.del(req)
	apart := request(c, "apart", config(2, `"ipMasq":true,"icc":false,`), plugins.PortMapping{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 8081, ContainerPort: 80, Protocol: "tcp"})
	w.warned(w.add(apart), "neighbours")
	w.del(apart)
	if _, err := w.tryAdd(request(d, "front", config(1, ""), onIPv6Loopback())); err == nil || !strings.Contains(err.Error(), "CAP_BPF") {
		t.Errorf("a port on ::1: %v", err)
	}
}
