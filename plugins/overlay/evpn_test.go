package overlay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// fabricHost is a host with the files of docs/evpn.md.
type fabricHost struct {
	*nettest.Host
	network plugins.Network
}

func (h *fabricHost) request(c *nettest.Container) *plugins.Request {
	req := request(c, "")
	req.Network = h.network
	return req
}

func (h *fabricHost) add(t *testing.T, c *nettest.Container) *plugins.Result {
	t.Helper()
	c.Run("ip", "link", "set", "lo", "up")
	r, err := tryAdd(h.Host, h.request(c))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// documented reads the files out of the document: those of the first host,
// then those of the second.
func documented(t *testing.T) (lists, daemons []string) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/evpn.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```(json|text)\n(.*?)```").FindAllStringSubmatch(string(raw), -1) {
		if block[1] == "json" {
			lists = append(lists, block[2])
		} else {
			daemons = append(daemons, block[2])
		}
	}
	if len(lists) != 2 || len(daemons) != 2 {
		t.Fatalf("docs/evpn.md has %d conflists and %d frr.conf, want two of each", len(lists), len(daemons))
	}
	return lists, daemons
}

// newFabricHost runs FRR as its own scripts would.
func newFabricHost(t *testing.T, h *nettest.Host, list, frr string) *fabricHost {
	t.Helper()
	var parsed struct {
		CNIVersion, Name string
		Plugins          []json.RawMessage
	}
	if err := json.Unmarshal([]byte(list), &parsed); err != nil || len(parsed.Plugins) != 1 {
		t.Fatalf("docs/evpn.md: %v: %d plugins", err, len(parsed.Plugins))
	}
	file := filepath.Join(t.TempDir(), "frr.conf")
	if err := os.WriteFile(file, []byte(frr), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Run("install", "-d", "-o", "frr", "-g", "frr", "/run/frr")
	h.Run("cp", file, "/etc/frr/frr.conf")
	for _, daemon := range []string{"zebra", "bgpd"} {
		h.Background("/usr/lib/frr/"+daemon, "-P", "0", "--log", "stdout")
		nettest.Eventually(t, daemon+" on "+h.Name, func() error {
			_, err := h.Try("vtysh", "-d", daemon, "-c", "show version")
			return err
		})
	}
	h.Run("vtysh", "-b")
	return &fabricHost{Host: h, network: plugins.Network{
		Name: parsed.Name, Type: "overlay", CNIVersion: parsed.CNIVersion, Config: parsed.Plugins[0],
	}}
}

// routes are the EVPN routes that a host knows: the other's and its own.
func (h *fabricHost) routes() (string, error) {
	out, err := h.Try("vtysh", "-c", "show bgp l2vpn evpn json")
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return out, nil
}

// await waits until a route is there, or gone.
func (h *fabricHost) await(t *testing.T, route string, there bool) {
	t.Helper()
	nettest.Eventually(t, fmt.Sprintf("%s: route %s: %v", h.Name, route, there), func() error {
		out, err := h.routes()
		if err == nil && strings.Contains(out, route) != there {
			err = errors.New(out)
		}
		return err
	})
}

func requireFRR(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("FRR gives up root, so it needs it")
	}
	if _, err := exec.LookPath("/usr/lib/frr/bgpd"); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("FRR is not installed (Debian: frr)")
	}
	t.Skip("FRR is not installed (Debian: frr)")
}

// isMLD tells whether a frame has a message of multicast listener discovery:
// they alone have a hop-by-hop header (RFC 3810, section 5).
func isMLD(f nettest.Frame) bool {
	_, dst, protocol, _ := f.IP()
	return dst.IsMulticast() && protocol == unix.IPPROTO_HOPOPTS
}

func TestTwoHostsOfAFabric(t *testing.T) {
	t.Parallel()
	requireFRR(t)
	w := newWorld(t)
	lists, daemons := documented(t)
	first, second := newFabricHost(t, w.a, lists[0], daemons[0]), newFabricHost(t, w.b, lists[1], daemons[1])
	c1, c2 := w.a.NewContainer("c1"), w.b.NewContainer("c2")
	r1, r2 := first.add(t, c1), second.add(t, c2)

	type end struct {
		*fabricHost
		r *plugins.Result
	}
	ends := []end{{first, r1}, {second, r2}}
	for i, here := range ends {
		there := ends[1-i]
		here.await(t, fmt.Sprintf("[3]:[0]:[32]:[192.0.2.%d]", 2-i), true)
		mac := there.r.Interfaces[0].MAC.String()
		here.await(t, "[2]:[0]:[48]:["+mac+"]", true)
		for _, ip := range there.r.IPs {
			addr := ip.Address.Addr()
			here.await(t, fmt.Sprintf("[2]:[0]:[48]:[%s]:[%d]:[%s]", mac, addr.BitLen(), addr), true)
		}
	}

	sniffer := w.a.Sniff("eth0")
	for _, ip := range r2.IPs {
		url := c2.ServeHTTP(netip.AddrPortFrom(ip.Address.Addr(), 80).String())
		nettest.Eventually(t, "c1 to reach "+url, func() error { _, err := c1.TryGet(url); return err })
	}
	for _, ip := range r1.IPs {
		url := c1.ServeHTTP(netip.AddrPortFrom(ip.Address.Addr(), 80).String())
		nettest.Eventually(t, "c2 to reach "+url, func() error { _, err := c2.TryGet(url); return err })
	}
	for _, f := range sniffer.Frames() {
		// A kernel tells what it listens to (MLD) when it likes, and that is
		// for all hosts.
		if vni, inner, ok := f.VXLAN(4789); ok && inner.Flooded() && !isMLD(inner) {
			t.Errorf("a flooded frame of VNI %d crossed the underlay, of addresses that BGP has told of: % x", vni, []byte(inner))
		}
	}

	mac := r2.Interfaces[0].MAC.String()
	w.del(w.b, second.request(c2))
	first.await(t, mac, false)
	first.await(t, "[3]:[0]:[32]:[192.0.2.2]", false)
	nettest.Eventually(t, "the kernel's entries to go", func() error {
		out := w.a.Run("bridge", "fdb", "show", "dev", "vx-fabric") + w.a.Run("ip", "neighbour", "show", "dev", "bo-fabric")
		if strings.Contains(out, mac) {
			return errors.New(out)
		}
		return nil
	})
	w.del(w.a, first.request(c1))
	if out := w.a.Run("ip", "-br", "link"); strings.Contains(out, "fabric") {
		t.Errorf("devices are left:\n%s", out)
	}
}
