package dhcp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/agent/dhcp"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	client "github.com/berth-net/berth/plugins/dhcp"
	"github.com/berth-net/berth/state"
)

// segment is a DHCP server, 192.0.2.1 and 2001:db8::1, and a host with eth0
// on its segment; the agent listens on socket.
type segment struct {
	*testing.T
	host, server *nettest.Host
	socket       string
	log          string // of dnsmasq
	store        *state.Store
	stopAgent    func()
	renewWithin  time.Duration
	calls        int // of attachAndDetach

	mu       sync.Mutex
	problems []string // that the agent has told
	moves    []string // of addresses
}

// newSegment gives leases of two minutes, the shortest that dnsmasq knows,
// which are renewed long before.
func newSegment(t *testing.T) *segment {
	t.Helper()
	s := newWire(t)
	s.startServer()
	s.renewWithin = 300 * time.Millisecond
	s.startAgent()
	return s
}

// newWire has neither server nor agent yet.
func newWire(t *testing.T) *segment {
	t.Helper()
	dir := t.TempDir()
	s := &segment{
		T: t, host: nettest.NewHost(t, "host"), server: nettest.NewHost(t, "server"),
		socket: filepath.Join(dir, "dhcp.sock"), log: filepath.Join(dir, "dnsmasq.log"), store: state.ForBoot(dir, "boot"),
	}
	nettest.Link(s.host, "eth0", []string{"192.0.2.10/24"}, s.server, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"})
	return s
}

func (s *segment) startServer() {
	s.Helper()
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		if os.Getenv("CI") != "" {
			s.Fatal(err)
		}
		s.Skip("dnsmasq is missing: install Debian's dnsmasq-base")
	}
	dir := filepath.Dir(s.log)
	s.server.Background("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--log-dhcp", "--no-ping",
		"--user=root", "--interface=eth0", "--bind-interfaces", "--dhcp-authoritative",
		"--dhcp-range=192.0.2.100,192.0.2.200,2m", "--dhcp-range=2001:db8::1000,2001:db8::2000,64,2m",
		"--dhcp-option=option:dns-server,192.0.2.53",
		"--dhcp-leasefile="+filepath.Join(dir, "leases"), "--pid-file="+filepath.Join(dir, "pid"), "--log-facility="+s.log)
	s.logged("started")
}

// startAgent runs an agent until stopAgent, which the test's end calls too.
func (s *segment) startAgent() {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server := &dhcp.Server{
		Store: s.store, Log: slog.New(slog.DiscardHandler), RenewWithin: s.renewWithin,
		Report: func(what string, err error) { s.note(&s.problems, what+": "+err.Error()) },
		Moved:  func(k endpoint.Key, from, to netip.Prefix) { s.note(&s.moves, fmt.Sprint(k, " ", from, " ", to)) },
	}
	l, err := dhcp.Listen(s.socket)
	if err != nil {
		s.Fatal(err)
	}
	go func() { done <- server.Serve(ctx, l) }()
	s.stopAgent = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	})
	s.Cleanup(s.stopAgent)
}

func (s *segment) note(list *[]string, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, line)
}

// told waits until the agent has reported a problem with the words.
func (s *segment) told(list *[]string, words string) {
	s.Helper()
	nettest.Eventually(s, "the agent tells of "+words, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !strings.Contains(strings.Join(*list, "\n"), words) {
			return fmt.Errorf("it told %q", *list)
		}
		return nil
	})
}

// logged waits until the server has written all the words on one line.
func (s *segment) logged(words ...string) {
	s.Helper()
	nettest.Eventually(s, fmt.Sprintf("the server logs %q", words), func() error {
		raw, err := os.ReadFile(s.log)
		for line := range strings.Lines(string(raw)) {
			found := true
			for _, w := range words {
				found = found && strings.Contains(line, w)
			}
			if found {
				return nil
			}
		}
		return fmt.Errorf("%w: %s", os.ErrNotExist, tail(string(raw))+fmt.Sprint(err))
	})
}

func tail(s string) string { return s[max(0, len(s)-1500):] }

// request is for eth0 of a container with a path that every process finds.
func (s *segment) request(c *nettest.Container, ipam string) *plugins.Request {
	config := `{"cniVersion":"1.0.0","name":"lan","type":"macvlan","master":"eth0","ipam":{"type":"dhcp","daemonSocketPath":"` + s.socket + `"` + ipam + `}}`
	return &plugins.Request{
		Network:     plugins.Network{Name: "lan", Type: "macvlan", CNIVersion: "1.0.0", Config: []byte(config)},
		ContainerID: c.Name, IfName: "eth0", NetNS: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), c.NetNS().FD()),
	}
}

// device gives c a macvlan device, down and without IPv6, as the drivers do.
func (s *segment) device(c *nettest.Container) {
	s.host.Run("ip", "link", "add", "eth0", "netns", c.Path, "link", "eth0", "type", "macvlan", "mode", "bridge")
	c.Run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
}

func TestALeaseIsRenewedAndReleased(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	c := s.host.NewContainer("c1")
	s.device(c)
	req, d := s.request(c, ""), client.New()
	r, err := d.Add(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	addr := r.IPs[0].Address.Addr().String()
	c.Run("ip", "address", "add", r.IPs[0].Address.String(), "dev", "eth0")
	if r.IPs[0].Address.Bits() != 24 || r.IPs[0].Gateway.String() != "192.0.2.1" || len(r.Routes) != 1 || r.DNS.Nameservers[0] != "192.0.2.53" {
		t.Errorf("result %+v", r)
	}
	if err := d.Check(t.Context(), req); err != nil {
		t.Error(err)
	}
	// A client that renews (RFC 2131 section 4.3.2) gets a second ACK.
	nettest.Eventually(t, "the lease is renewed", func() error {
		raw, _ := os.ReadFile(s.log)
		if n := strings.Count(string(raw), "DHCPACK(eth0) "+addr); n < 2 {
			return fmt.Errorf("%d times: %s", n, tail(string(raw)))
		}
		return nil
	})
	if err := d.Del(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	s.logged("DHCPRELEASE(eth0) " + addr)
	if err := d.Check(t.Context(), req); err == nil {
		t.Error("CHECK succeeds after DEL")
	}
	if err := d.Del(t.Context(), req); err != nil {
		t.Error(err)
	}
}

func TestIPv6IsLeasedAndReleased(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	c := s.host.NewContainer("c1")
	s.device(c)
	req, d := s.request(c, `,"ipv6":true`), client.New()
	r, err := d.Add(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.IPs) != 2 || !strings.HasPrefix(r.IPs[1].Address.String(), "2001:db8::") {
		t.Fatalf("result %+v", r)
	}
	if err := d.Del(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	s.logged("DHCPRELEASE(eth0) 00:03:00:01:")
	s.logged("release received")
}

func TestWithoutAnAgent(t *testing.T) {
	t.Parallel()
	s := &segment{T: t, socket: filepath.Join(t.TempDir(), "none")}
	req := &plugins.Request{Network: plugins.Network{Config: []byte(`{"ipam":{"type":"dhcp","daemonSocketPath":"` + s.socket + `"}}`)}}
	if _, err := client.New().Add(t.Context(), req); err == nil || !strings.Contains(err.Error(), "berth agent") {
		t.Errorf("add: %v", err)
	}
	if err := client.New().Status(t.Context(), &req.Network); err == nil {
		t.Error("status is well")
	}
	if err := client.New().Del(t.Context(), req); err != nil {
		t.Errorf("del: %v", err)
	}
}

// The whole way: a driver executes the plugin dhcp of berth-cni. The bridge
// has the host's end of the segment as a port.
func TestDriversGetTheirAddressesByDHCP(t *testing.T) {
	t.Parallel()
	bin := buildPlugins(t)
	for name, driver := range map[string]struct {
		keys string
		new  func(*state.Store) plugins.Driver
	}{
		"macvlan": {macvlanKeys, newMacvlan},
		"bridge":  {bridgeKeys, newBridge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSegment(t)
			if name == "bridge" {
				s.uplink()
			}
			s.attachAndDetach(bin, driver.keys+`{"type":"dhcp","daemonSocketPath":"`+s.socket+`","ipv6":true,"routes":[{"dst":"2001:db8::/64"}]}}`, driver.new)
			s.released(true)
		})
	}
}

// buildPlugins is a directory with the plugin dhcp.
func buildPlugins(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "dhcp"), "github.com/berth-net/berth/cmd/berth-cni")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// on calls a driver on the host.
func (s *segment) on(create func(*state.Store) plugins.Driver, call func(plugins.Driver) error) {
	s.Helper()
	err := s.host.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return call(create(store))
	})
	if err != nil {
		s.Fatal(err)
	}
}

// attachAndDetach has a driver's ADD, CHECK and DEL with the plugins in bin.
func (s *segment) attachAndDetach(bin, config string, driver func(*state.Store) plugins.Driver) {
	s.Helper()
	s.calls++
	c := s.host.NewContainer(fmt.Sprintf("c%d", s.calls))
	req := s.request(c, "")
	req.Config, req.Path = []byte(config), []string{bin}
	s.on(driver, func(d plugins.Driver) error { _, err := d.Add(context.Background(), req); return err })
	c.Ping("192.0.2.1")
	six := strings.Contains(config, `"ipv6":true`)
	if six {
		c.Ping("2001:db8::1")
	}
	if got := c.Run("ip", "address", "show", "eth0"); !strings.Contains(got, "192.0.2.1") || strings.Contains(got, "inet6") != six {
		s.Errorf("addresses:\n%s", got)
	}
	if got := c.Run("ip", "route"); !strings.Contains(got, "default via 192.0.2.1 dev eth0") {
		s.Errorf("routes:\n%s", got)
	}
	s.on(driver, func(d plugins.Driver) error { return d.Check(context.Background(), req) })
	s.on(driver, func(d plugins.Driver) error { return d.Del(context.Background(), req) })
	if got := c.Run("ip", "-o", "link"); strings.Contains(got, "eth0") {
		s.Errorf("the device is left:\n%s", got)
	}
	s.on(driver, func(d plugins.Driver) error { return d.Del(context.Background(), req) })
}

// released waits until dnsmasq has got a lease back, of each family.
func (s *segment) released(six bool) {
	s.Helper()
	s.logged("DHCPRELEASE(eth0) 192.0.2.")
	if six {
		s.logged("DHCPRELEASE(eth0) 00:03:00:01:")
	}
}
