package agent_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"log/slog"

	"github.com/berth-net/berth/agent"
	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/overlay"
	"github.com/berth-net/berth/state"
)

// agentName in the environment makes this test binary that host's agent. The
// others are settings of it.
const (
	agentName      = "BERTH_TEST_AGENT"
	agentAdvertise = "BERTH_TEST_AGENT_ADVERTISE"
	agentReclaim   = "BERTH_TEST_AGENT_RECLAIM"   // duration
	agentEvery     = "BERTH_TEST_AGENT_EVERY"     // duration
	agentTTL       = "BERTH_TEST_AGENT_TTL"       // duration
	agentWireGuard = "BERTH_TEST_AGENT_WIREGUARD" // mesh.Kernel or mesh.Userspace
	agentEtcd      = "BERTH_TEST_AGENT_ETCD"      // URL
)

func TestMain(m *testing.M) {
	if name := os.Getenv(agentName); name != "" {
		fmt.Fprintln(os.Stderr, runAgent(name))
		os.Exit(1)
	}
	if name := os.Getenv(returningName); name != "" {
		if err := runReturning(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if n := os.Getenv(swarmSize); n != "" {
		fmt.Fprintln(os.Stderr, runSwarm(n))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func runAgent(name string) error {
	debug.SetGCPercent(40) // as berth agent does
	a, err := newAgent(name)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return a.Run(ctx)
}

// newAgent makes an agent by the settings in the environment.
func newAgent(name string) (*agent.Agent, error) {
	store, err := state.Default()
	if err != nil {
		return nil, err
	}
	catalogue, err := network.Open(network.Options{Store: store})
	if err != nil {
		return nil, err
	}
	reclaim, reclaimErr := time.ParseDuration(cmp.Or(os.Getenv(agentReclaim), "1h"))
	every, everyErr := time.ParseDuration(cmp.Or(os.Getenv(agentEvery), "5s"))
	ttl, ttlErr := time.ParseDuration(cmp.Or(os.Getenv(agentTTL), "3s"))
	if err := errors.Join(reclaimErr, everyErr, ttlErr); err != nil {
		return nil, err
	}
	advertise, _ := netip.ParseAddr(os.Getenv(agentAdvertise))
	return agent.New(agent.Options{
		Advertise: advertise, Mesh: mesh.Options{Implementation: os.Getenv(agentWireGuard)},
		Catalogue: catalogue, Store: store, Name: name, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Cluster: cluster.Options{Servers: []string{os.Getenv(agentEtcd)}, TTL: ttl},
		Every:   every, ReclaimAfter: reclaim, Metrics: "127.0.0.1:9470",
	})
}

// addressing is the networks of an underlay, with %d for the number of a host.
// The first has the tunnels.
type addressing struct {
	networks []string
	etcd     int // network of the servers; where it is not the first, the agents advertise what is
}

var (
	bothFamilies   = addressing{networks: []string{"192.0.2.%d/24", "2001:db8::%d/64"}}
	onlyIPv6       = addressing{networks: []string{"2001:db8::%d/64"}}
	advertisedIPv6 = addressing{networks: []string{"2001:db8::%d/64", "192.0.2.%d/24"}, etcd: 1}
)

// etcdNumber is the host of etcd.
const etcdNumber = 100

// of are the addresses of a host, in CIDR form.
func (a addressing) of(host int) (addrs []string) {
	for _, network := range a.networks {
		addrs = append(addrs, fmt.Sprintf(network, host))
	}
	return addrs
}

// vtep is the address that a host's tunnels are expected to have.
func (a addressing) vtep(host int) netip.Addr { return netip.MustParsePrefix(a.of(host)[0]).Addr() }

func (a addressing) etcdURL() string {
	at := netip.MustParsePrefix(a.of(etcdNumber)[a.etcd]).Addr()
	return "http://" + netip.AddrPortFrom(at, etcdPort).String()
}

const etcdPort = 2379

// world is hosts with an agent each, and etcd on a host of its own.
type world struct {
	testing.TB
	addressing
	underlay *nettest.Switch
	server   *nettest.Host
	etcd     *nettest.Process
	hosts    []*nettest.Host
	agents   map[*nettest.Host]*nettest.Process
	settings map[*nettest.Host][]string // of the agents: NAME=VALUE
}

func newWorld(t testing.TB, n int) *world {
	t.Helper()
	return newWorldOn(t, bothFamilies, n)
}

// newWorldOn makes the world on an underlay with such addresses.
func newWorldOn(t testing.TB, a addressing, n int) *world {
	t.Helper()
	return newWorldWith(t, a, n, func(int) []string { return nil })
}

// newWorldWith numbers the hosts from 1 for the settings of their agents.
func newWorldWith(t testing.TB, a addressing, n int, settings func(host int) []string) *world {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("etcd is not installed (Debian: etcd-server)")
		}
		t.Skip("etcd is not installed (Debian: etcd-server)")
	}
	w := &world{TB: t, addressing: a, server: nettest.NewHost(t, "etcd"), agents: map[*nettest.Host]*nettest.Process{}, settings: map[*nettest.Host][]string{}}
	w.underlay = nettest.NewSwitch(w.server)
	w.underlay.Join(w.server, "eth0", a.of(etcdNumber)...)
	w.startEtcd()
	for i := 1; i <= n; i++ {
		h := nettest.NewHost(t, fmt.Sprintf("h%d", i))
		w.underlay.Join(h, "eth0", a.of(i)...)
		w.hosts = append(w.hosts, h)
		w.settings[h] = settings(i)
		if a.etcd != 0 {
			w.settings[h] = append(w.settings[h], agentAdvertise+"="+a.vtep(i).String())
		}
		w.startAgent(h)
	}
	for _, h := range w.hosts {
		w.eventually(h.Name+" to see its peers", func() error {
			s, err := w.status(h)
			if err != nil {
				return err
			}
			if s.Cluster == nil || len(s.Cluster.Peers) != n-1 {
				return fmt.Errorf("cluster is %+v\n%s", s.Cluster, w.agents[h].Output())
			}
			return nil
		})
	}
	return w
}

func (w *world) startEtcd() {
	w.etcd = w.server.Background("etcd", "--data-dir", w.TempDirOf(), "--listen-client-urls", w.etcdURL(),
		"--advertise-client-urls", w.etcdURL(), "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level", "error",
		"--heartbeat-interval", "10", "--election-timeout", "100") // a lone server elects itself after the latter
}

// TempDirOf is one directory for every life of etcd.
func (w *world) TempDirOf() string { return "/var/lib/etcd-test" }

func (w *world) startAgent(h *nettest.Host) {
	w.agents[h] = h.Background("/usr/bin/env", w.asAgent(h, agentName)...)
}

// asAgent are env's arguments to run this test binary for a host. What it then
// does is the variable's business that has the host's name.
func (w *world) asAgent(h *nettest.Host, variable string) []string {
	return slices.Concat([]string{variable + "=" + h.Name, agentEtcd + "=" + w.etcdURL()}, w.settings[h], []string{os.Args[0]})
}

func (w *world) eventually(what string, condition func() error) {
	w.Helper()
	nettest.Eventually(w.TB, what, condition)
}

func (w *world) call(h *nettest.Host, req api.Request) (answer *api.Answer, err error) {
	err = h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		answer, err = api.Call(context.Background(), store, req)
		return err
	})
	return answer, err
}

func (w *world) status(h *nettest.Host) (*api.Status, error) {
	answer, err := w.call(h, api.Request{Status: &struct{}{}})
	if err != nil {
		return nil, err
	}
	return answer.Status, nil
}

const front = `{"type":"overlay","controlPlane":"etcd","ipMasq":true,"ipam":{"type":"berth-ipam","ranges":[
	[{"subnet":"10.42.0.0/24","gateway":"10.42.0.1"}],[{"subnet":"fd42::/64","gateway":"fd42::1"}]],
	"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}`

func request(c *nettest.Container) *plugins.Request {
	return &plugins.Request{
		Network:     plugins.Network{Name: "front", Type: "overlay", CNIVersion: "1.0.0", Config: []byte(front)},
		ContainerID: c.Name, NetNS: c.Path, IfName: "eth0", Owner: "test",
	}
}

func on(h *nettest.Host, call func(*overlay.Driver) error) error {
	return h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return call(overlay.New(store))
	})
}

func tryAdd(h *nettest.Host, req *plugins.Request) (r *plugins.Result, err error) {
	err = on(h, func(d *overlay.Driver) (err error) {
		r, err = d.Add(context.Background(), req)
		return err
	})
	return r, err
}

// member is a container on the network.
type member struct {
	*nettest.Container
	host   *nettest.Host
	ips    []netip.Addr
	port   string // the host's end, where a test asks for it
	served bool
}

func (w *world) add(h *nettest.Host, name string) *member {
	w.Helper()
	return w.addWith(h, name, func(*plugins.Request) {})
}

// addTo adds a container to a network other than front.
func (w *world) addTo(h *nettest.Host, name, network, config string) *member {
	w.Helper()
	return w.addWith(h, name, func(req *plugins.Request) { req.Name, req.Config = network, []byte(config) })
}

func (w *world) delFrom(network, config string, m *member) {
	w.Helper()
	req := request(m.Container)
	req.Name, req.Config = network, []byte(config)
	if err := on(m.host, func(d *overlay.Driver) error { return d.Del(context.Background(), req) }); err != nil {
		w.Errorf("del %s: %v", m.Name, err)
	}
}

// addWith adds a container by a request that ask has changed.
func (w *world) addWith(h *nettest.Host, name string, ask func(*plugins.Request)) *member {
	w.Helper()
	c := h.NewContainer(name)
	c.Run("ip", "link", "set", "lo", "up")
	req := request(c)
	ask(req)
	r, err := tryAdd(h, req)
	if err != nil {
		w.Fatalf("add %s on %s: %v\n%s", name, h.Name, err, w.agents[h].Output())
	}
	m := &member{Container: c, host: h}
	for _, ip := range r.IPs {
		m.ips = append(m.ips, ip.Address.Addr())
	}
	return m
}

func (w *world) del(m *member) {
	w.Helper()
	if err := on(m.host, func(d *overlay.Driver) error { return d.Del(context.Background(), request(m.Container)) }); err != nil {
		w.Errorf("del %s: %v", m.Name, err)
	}
}

// entries are a host's forwarding entries for a MAC or an address.
func entries(h *nettest.Host) string {
	out, _ := h.Try("bridge", "fdb", "show", "dev", "vx-front")
	more, _ := h.Try("ip", "neighbour", "show", "nud", "permanent")
	return out + more
}

func (w *world) everyPair(members []*member) {
	w.Helper()
	urls := map[string]bool{}
	for _, to := range members {
		for _, ip := range to.ips {
			addr := netip.AddrPortFrom(ip, 80).String()
			if !to.served {
				to.ServeHTTP(addr)
			}
			urls[addr] = true
		}
		to.served = true
	}
	for _, from := range members {
		for addr := range urls {
			w.eventually(from.Name+" to reach "+addr, func() error {
				_, err := from.TryGet("http://" + addr)
				return err
			})
		}
	}
}

func TestEveryPairReachesEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	var members []*member
	for i, h := range append(w.hosts, w.hosts...) {
		members = append(members, w.add(h, fmt.Sprintf("c%d", i)))
	}
	w.everyPair(members)
	seen := map[netip.Addr]bool{}
	for _, m := range members {
		for _, ip := range m.ips {
			if seen[ip] {
				t.Errorf("address %s was given twice", ip)
			}
			seen[ip] = true
		}
	}
	for _, h := range w.hosts {
		if out := entries(h); strings.Contains(out, "00:00:00:00:00:00") {
			t.Errorf("%s replicates frames:\n%s", h.Name, out)
		}
		answer, err := w.call(h, api.Request{Inspect: &api.NetworkName{Name: "front"}})
		if err != nil || len(answer.Network.Endpoints) != 6 {
			t.Errorf("inspect on %s: %v, %+v", h.Name, err, answer)
		}
	}
	for _, m := range members {
		w.del(m)
	}
	for _, h := range w.hosts {
		if out := h.Run("ip", "-br", "link"); strings.Contains(out, "front") {
			t.Errorf("devices are left on %s:\n%s", h.Name, out)
		}
	}
}

func TestEtcdAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	a, b := w.add(w.hosts[0], "c1"), w.add(w.hosts[1], "c2")
	w.everyPair([]*member{a, b})
	w.etcd.Kill()
	a.Ping(b.ips[0].String())
	own := w.add(w.hosts[0], "c3") // from the host's own block
	var full error
	for i := range 20 {
		c := w.hosts[0].NewContainer(fmt.Sprintf("x%d", i))
		if _, full = tryAdd(w.hosts[0], request(c)); full != nil {
			break
		}
	}
	var coded *plugins.Error
	if !errors.As(full, &coded) || coded.Code != plugins.CodeTryAgain {
		t.Errorf("a full block without etcd: %v; want code 11", full)
	}
	w.startEtcd()
	w.everyPair([]*member{a, b, own})
}

// An agent that is started while etcd is away knows its blocks from the one
// before it.
func TestAnAgentRestartsWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	a, b := w.add(w.hosts[0], "a"), w.add(w.hosts[1], "b")
	w.everyPair([]*member{a, b})
	h := w.hosts[0]
	m, err := w.tryStatic(h, "former", "10.45.0.200/24")
	if err != nil {
		t.Fatal(err)
	}
	w.delFrom("fixed", fixed, m)
	w.etcd.Kill()
	w.agents[h].Kill()
	w.startAgent(h)
	w.eventually("the agent to be there", func() error { _, err := w.status(h); return err })
	own := w.add(h, "own")
	var coded *plugins.Error
	if _, err := w.tryStatic(h, "static", "10.45.0.200/24"); !errors.As(err, &coded) || coded.Code != plugins.CodeTryAgain {
		t.Errorf("a static address, of which only etcd can tell: %v; want code 11", err)
	}
	w.del(a)
	if out := entries(h); !strings.Contains(out, b.ips[0].String()) {
		t.Errorf("the way to b was forgotten:\n%s", out)
	}
	w.startEtcd()
	w.everyPair([]*member{own, b})
	w.knows(w.hosts[1], a, false)
}

// A host whose agent gets another name is the same host: its containers keep
// their addresses, the host its blocks, and no packet is lost.
func TestAHostIsGivenAnotherName(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, bothFamilies, 2, func(int) []string { return []string{agentTTL + "=60s"} })
	h, seer := w.hosts[0], w.hosts[1]
	a, b := w.add(h, "a"), w.add(seer, "b")
	static, err := w.tryStatic(h, "static", "10.45.0.200/24")
	if err != nil {
		t.Fatal(err)
	}
	w.everyPair([]*member{a, b})
	before := w.keysBelow("/berth/v1/")
	pings := b.Background("ping", "-i", "0.1", "-c", "30", "-W", "2", "-q", a.ips[0].String())
	w.stopAgent(h)
	w.settings[h] = append(w.settings[h], agentName+"=renamed")
	w.startAgent(h)
	want := strings.Join(before, "\n")
	for _, of := range [][2]string{{`"host":"h1"`, `"host":"renamed"`}, {`"name":"h1"`, `"name":"renamed"`}, {"hosts/h1 ", "hosts/renamed "}, {"/front/h1/", "/front/renamed/"}, {"/fixed/h1/", "/fixed/renamed/"}} {
		want = strings.ReplaceAll(want, of[0], of[1])
	}
	w.eventually("etcd to know the host by its new name alone", func() error { return sameHosts(w.keysBelow("/berth/v1/"), strings.Split(want, "\n")) })
	c := w.add(h, "c")
	w.everyPair([]*member{a, b, c})
	<-pings.Done()
	if out := pings.Output(); !strings.Contains(out, " 0% packet loss") {
		t.Errorf("traffic stopped meanwhile:\n%s", out)
	}
	w.eventually("the entries of h2", func() error {
		if have, want := forwarding(seer), w.forwardingFor(seer, []*member{a, c}); !slices.Equal(have, want) {
			return fmt.Errorf("%q, want %q", have, want)
		}
		return nil
	})
	if s, err := w.status(h); err != nil || s.Host != "renamed" || strings.Contains(fmt.Sprint(s.Warnings, s.Errors), "off network") || len(s.Cluster.Peers) != 1 {
		t.Errorf("the renamed host: %+v, %v", s, err)
	}
	w.delFrom("fixed", fixed, static)
	w.eventually("the static address to be free", func() error {
		if lines := w.keysBelow("/berth/v1/claims/"); len(lines) > 0 {
			return fmt.Errorf("%q", lines)
		}
		return nil
	})
}

// sameHosts compares etcd's keys and values, where it matters whose they are.
func sameHosts(have, want []string) error {
	lines := func(all []string) (lines []string) {
		for _, line := range all {
			key, value, _ := strings.Cut(line, " ")
			if strings.Contains(value, `"tunnel"`) { // it follows from the name
				value = ""
			}
			lines = append(lines, key+" "+value)
		}
		slices.Sort(lines)
		return lines
	}
	if have, want := lines(have), lines(want); !slices.Equal(have, want) {
		return fmt.Errorf("%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	return nil
}

func TestAHostsDeathIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	a, b := w.add(w.hosts[0], "c1"), w.add(w.hosts[1], "c2")
	w.everyPair([]*member{a, b})
	w.agents[w.hosts[1]].Kill()
	w.eventually("the dead host's endpoint to go", func() error {
		if out := entries(w.hosts[0]); strings.Contains(out, "192.0.2.2") || strings.Contains(out, b.ips[0].String()) {
			return errors.New(out)
		}
		return nil
	})
	w.startAgent(w.hosts[1])
	w.everyPair([]*member{a, b})
}

func TestANetworkExistsOnAllHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	create := api.Request{CreateNetwork: &api.CreateNetwork{Name: "front", Config: []byte(front),
		List: []byte(`{"cniVersion":"1.0.0","name":"front","plugins":[` + front + `]}`)}}
	if _, err := w.call(w.hosts[0], create); err != nil {
		t.Fatal(err)
	}
	if _, err := w.call(w.hosts[1], create); err == nil {
		t.Error("the same network was created twice")
	}
	const file = "/etc/cni/net.d/berth-front.conflist"
	for _, h := range w.hosts {
		w.eventually("the conflist on "+h.Name, func() error { _, err := h.Try("test", "-s", file); return err })
	}
	a, b := w.add(w.hosts[0], "c1"), w.add(w.hosts[1], "c2")
	w.everyPair([]*member{a, b})
	remove := api.Request{RemoveNetwork: &api.NetworkName{Name: "front"}}
	w.del(a)
	if _, err := w.call(w.hosts[0], remove); err == nil || !strings.Contains(err.Error(), "c2") || !strings.Contains(err.Error(), "h2") {
		t.Errorf("remove while c2 is on it on h2: %v", err)
	}
	w.del(b)
	w.eventually("removal", func() error { _, err := w.call(w.hosts[0], remove); return err })
	for _, h := range w.hosts {
		w.eventually("the conflist to go from "+h.Name, func() error {
			if _, err := h.Try("test", "!", "-e", file); err != nil {
				return errors.New("it is there")
			}
			return nil
		})
	}
}
