package nettest_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
)

// pair is two hosts on one link, of both families.
func pair(t *testing.T) (a, b *nettest.Host) {
	t.Helper()
	a, b = nettest.NewHost(t, "a"), nettest.NewHost(t, "b")
	nettest.Link(a, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, b, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	return a, b
}

func TestPing(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	for _, dst := range []string{"127.0.0.1", "::1", "192.0.2.2", "2001:db8::2"} {
		a.Ping(dst)
	}
	if err := a.TryPing("192.0.2.9"); !errors.Is(err, nettest.ErrNoReply) && !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("ping of nobody: %v", err)
	}
}

func TestAnswerTellsTheClientsAddress(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for _, network := range []string{"tcp4", "udp4", "tcp6", "udp6"} {
		client, server := "192.0.2.1", "192.0.2.2:7"
		if strings.HasSuffix(network, "6") {
			client, server = "2001:db8::1", "[2001:db8::2]:7"
		}
		b.Serve(network, server)
		got := a.Ask(network, server)
		if got.Server != "b" || got.Client.Addr() != netip.MustParseAddr(client) {
			t.Errorf("%s: %s answered, want b and %s", network, got, client)
		}
	}
	for _, network := range []string{"tcp", "udp"} {
		if got, err := a.TryAsk(network, "192.0.2.2:8"); err == nil {
			t.Errorf("%s: nobody serves port 8, but %s answered", network, got)
		}
	}
}

func TestHTTPBetweenHostAndContainer(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	url := b.ServeHTTP("192.0.2.2:0")
	if got := a.Get(url); !strings.HasPrefix(got, "b 192.0.2.1:") {
		t.Errorf("answer %q, want b and the address of a", got)
	}
	c := a.NewContainer("c")
	if got, err := c.TryGet(url); err == nil {
		t.Errorf("a container without a link got %q", got)
	}
	c.Run("ip", "link", "set", "lo", "up")
	if got := c.Get(c.ServeHTTP("127.0.0.1:0")); !strings.HasPrefix(got, "c 127.0.0.1:") {
		t.Errorf("answer %q, want c and its loopback", got)
	}
}

func TestStateAsText(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	a.Run("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
	a.Run("nft", "add", "table", "inet", "nettest-probe")
	a.Run("bridge", "fdb", "add", "02:00:00:00:00:07", "dev", "eth0")
	a.Ping("192.0.2.2")
	for what, c := range map[string]struct{ text, want string }{
		"addresses":  {a.Addresses(), "192.0.2.1/24"},
		"links":      {a.Links(), "eth0@"},
		"routes":     {a.Routes(), "198.51.100.0/24 via 192.0.2.2 dev eth0\n"},
		"neighbours": {a.Neighbours(), "192.0.2.2 dev eth0 lladdr "},
		"fdb":        {a.FDB(), "02:00:00:00:00:07 dev eth0"},
		"rules":      {a.Rules(), "table inet nettest-probe"},
	} {
		if !strings.Contains(c.text, c.want) {
			t.Errorf("%s: no %q in:\n%s", what, c.want, c.text)
		}
	}
}

func TestBackgroundRunsInsideTheHost(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	h.Run("ip", "link", "add", "only-here", "type", "bridge")
	p := h.Background("sh", "-c", "ip -br link show only-here; exec cat")
	nettest.Eventually(t, "program's output", func() error {
		if !strings.Contains(p.Output(), "only-here") {
			return errors.New(p.Output())
		}
		return nil
	})
}

func TestCutPartsTwoHostsOnly(t *testing.T) {
	t.Parallel()
	a, b, c := nettest.NewHost(t, "a"), nettest.NewHost(t, "b"), nettest.NewHost(t, "c")
	sw := nettest.NewSwitch(a)
	sw.Join(a, "eth0", "192.0.2.1/24")
	sw.Join(b, "eth0", "192.0.2.2/24")
	sw.Join(c, "eth0", "192.0.2.3/24")
	a.Ping("192.0.2.2")
	sw.Cut(a, b)
	if err := a.TryPing("192.0.2.2"); err == nil {
		t.Error("a reaches b across the cut")
	}
	a.Ping("192.0.2.3")
	b.Ping("192.0.2.3")
	sw.Heal()
	a.Ping("192.0.2.2")
}

func TestAHostCannotBeEnteredAfterItsTest(t *testing.T) {
	t.Parallel()
	var h *nettest.Host
	t.Run("inner", func(t *testing.T) { h = nettest.NewHost(t, "h") })
	if err := h.Do(func() error { return nil }); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("Do after the test: %v", err)
	}
}
