package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

const clusterEtcd = "http://192.0.2.100:2379"

// cluster is etcd on a host of its own, and hosts with an agent each, all of
// them the programs that people install.
type cluster struct {
	*testing.T
	underlay *nettest.Switch
	server   *nettest.Host
	hosts    []*nettest.Host
	agents   map[*nettest.Host]*nettest.Process
}

func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := newEtcd(t)
	for i := 1; i <= n; i++ {
		h := nettest.NewHost(t, fmt.Sprintf("h%d", i))
		c.underlay.Join(h, "eth0", fmt.Sprintf("192.0.2.%d/24", i), fmt.Sprintf("2001:db8::%d/64", i))
		c.hosts = append(c.hosts, h)
		c.startAgent(h, "--etcd", clusterEtcd, "--name", h.Name, "--ttl", "3s", "--repair-every", "3s")
	}
	for _, h := range c.hosts {
		c.awaitPeers(h, n-1)
	}
	return c
}

// newUnderlay has the host of etcd, but no etcd yet.
func newUnderlay(t *testing.T) *cluster {
	t.Helper()
	requireTools(t, "etcd")
	c := &cluster{T: t, server: nettest.NewHost(t, "etcd"), agents: map[*nettest.Host]*nettest.Process{}}
	c.underlay = nettest.NewSwitch(c.server)
	c.underlay.Join(c.server, "eth0", "192.0.2.100/24")
	return c
}

// newEtcd is a cluster without hosts yet.
func newEtcd(t *testing.T) *cluster {
	t.Helper()
	c := newUnderlay(t)
	c.server.Background("etcd", "--data-dir", "/run/etcd", "--listen-client-urls", clusterEtcd,
		"--advertise-client-urls", clusterEtcd, "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level", "error")
	return c
}

// berth runs the program on a host; errors end the test.
func (c *cluster) berth(h *nettest.Host, args ...string) string {
	c.Helper()
	return h.Run(filepath.Join(binaries(c.T), "berth"), args...)
}

func (c *cluster) tryBerth(h *nettest.Host, args ...string) (string, error) {
	return h.Try(filepath.Join(binaries(c.T), "berth"), args...)
}

func (c *cluster) startAgent(h *nettest.Host, args ...string) {
	c.Helper()
	c.agents[h] = h.Background(filepath.Join(binaries(c.T), "berth"), append([]string{"agent"}, args...)...)
}

func (c *cluster) awaitPeers(h *nettest.Host, n int) {
	c.Helper()
	nettest.Eventually(c.T, h.Name+" to see its peers", func() error {
		out, err := c.tryBerth(h, "agent", "status", "--format", "{{len .Cluster.Peers}}")
		if err == nil && strings.TrimSpace(out) != fmt.Sprint(n) {
			err = errors.New("another number of peers")
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %s", err, out, c.agents[h].Output())
		}
		return nil
	})
}

// awaitPath waits until a host's status says that of the way to its peers.
func (c *cluster) awaitPath(h *nettest.Host, want string) {
	c.Helper()
	nettest.Eventually(c.T, h.Name+"'s way to its peers: "+want, func() error {
		out, err := c.tryBerth(h, "agent", "status", "--format", "{{range .Cluster.Peers}}{{.VXLAN}}{{end}}")
		if err == nil && out != want+"\n" {
			err = errors.New("another")
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// connect attaches a new container to a network and returns its addresses.
func (c *cluster) connect(h *nettest.Host, network, name string) (*nettest.Container, []string) {
	c.Helper()
	container := h.NewContainer(name)
	container.Run("ip", "link", "set", "lo", "up")
	var addrs []string
	for _, field := range strings.Fields(c.berth(h, "network", "connect", network, "netns:"+container.Path))[1:] {
		addr, _, _ := strings.Cut(field, "/")
		addrs = append(addrs, addr)
	}
	return container, addrs
}

func TestANetworkOfTheClusterIsTheSameOnEveryHost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	first, last := c.hosts[0], c.hosts[2]
	c.berth(first, "network", "create", "-d", "overlay", "--subnet", "10.42.0.0/24", "--subnet", "fd42::/64", "wide")
	for _, h := range c.hosts {
		nettest.Eventually(t, "network ls on "+h.Name, func() error {
			out, err := c.tryBerth(h, "network", "ls", "--filter", "name=wide", "--format", "{{.Name}} {{.Scope}} {{.Subnets}}")
			if err == nil && out != "wide global 10.42.0.0/24, fd42::/64\n" {
				err = errors.New(out)
			}
			return err
		})
	}
	one, _ := c.connect(first, "wide", "one")
	two, _ := c.connect(last, "wide", "two")
	for _, h := range c.hosts {
		c.expectInspection(h)
	}
	c.expectRefusal(c.hosts[1], "h1")
	c.berth(first, "network", "disconnect", "wide", "netns:"+one.Path)
	c.expectRefusal(first, "h3")
	c.berth(last, "network", "disconnect", "wide", "netns:"+two.Path)
	nettest.Eventually(t, "removal", func() error {
		_, err := c.tryBerth(c.hosts[1], "network", "rm", "wide")
		return err
	})
	for _, h := range c.hosts {
		nettest.Eventually(t, "the network to go from "+h.Name, func() error {
			if out := c.berth(h, "network", "ls", "-q"); strings.Contains(out, "wide") {
				return errors.New(out)
			}
			return nil
		})
	}
}

// expectInspection: both endpoints, both peers, and the addresses that both
// hosts gave, on whatever host.
func (c *cluster) expectInspection(h *nettest.Host) {
	c.Helper()
	nettest.Eventually(c.T, "network inspect on "+h.Name, func() error {
		var found []struct {
			Scope   string
			Peers   []struct{ Name, IP string }
			Cluster struct {
				VNI       uint32
				Endpoints []struct {
					Host      string
					Addresses []string
				}
			}
			IPAM struct{ Config []struct{ Used int } }
		}
		out, err := c.tryBerth(h, "network", "inspect", "--format", "json", "wide")
		if err == nil {
			err = json.Unmarshal([]byte(out), &found)
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		n := found[0]
		if n.Scope != "global" || n.Cluster.VNI == 0 || len(n.Peers) != 2 || len(n.Cluster.Endpoints) != 2 || n.IPAM.Config[0].Used != 2 {
			return errors.New(out)
		}
		for i, host := range []string{"h1", "h3"} {
			if e := n.Cluster.Endpoints[i]; e.Host != host || len(e.Addresses) != 2 {
				return fmt.Errorf("endpoint %d is %+v, want one of %s with two addresses", i, e, host)
			}
		}
		return nil
	})
	text := c.berth(h, "network", "inspect", "wide")
	for _, want := range []string{"IN THE CLUSTER", "PEER", " h1 ", " h3 "} {
		if !strings.Contains(text, want) {
			c.Errorf("inspect on %s does not show %q:\n%s", h.Name, want, text)
		}
	}
}

// expectRefusal: the network is in use by a container of the named host.
func (c *cluster) expectRefusal(h *nettest.Host, by string) {
	c.Helper()
	out, err := c.tryBerth(h, "network", "rm", "wide")
	if err == nil || !strings.Contains(out, "in use") || !strings.Contains(out, "host "+by) {
		c.Errorf("rm on %s: %v: %s; want a refusal that names host %s", h.Name, err, out, by)
	}
	c.berth(h, "network", "prune", "--force")
	if out := c.berth(h, "network", "ls", "-q"); !strings.Contains(out, "wide") {
		c.Errorf("prune on %s removed a network that a container of %s is on", h.Name, by)
	}
}

func TestStatusTellsWhatTheAgentSees(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	a, b := c.hosts[0], c.hosts[1]
	c.berth(a, "network", "create", "-d", "overlay", "--subnet", "10.42.0.0/24", "wide")
	nettest.Eventually(t, "the network on h2", func() error { _, err := c.tryBerth(b, "network", "inspect", "wide"); return err })
	c.connect(a, "wide", "one")
	c.connect(b, "wide", "two")
	nettest.Eventually(t, "the status of h1", func() error {
		out := c.berth(a, "agent", "status")
		for _, want := range []string{"answers in", "0 changes behind", "wide", "h2", "192.0.2.2"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in:\n%s", want, out)
			}
		}
		counts := c.berth(a, "agent", "status", "--format", "{{range .Networks}}{{.Here}} here, {{.Elsewhere}} elsewhere{{end}}")
		if counts != "1 here, 1 elsewhere\n" {
			return errors.New(counts)
		}
		return nil
	})
	c.underlay.Cut(a, c.server)
	nettest.Eventually(t, "the status of h1 without etcd", func() error {
		var s struct {
			Cluster struct {
				Connected bool
				Error     string
				LastSeen  string
			}
		}
		out := c.berth(a, "agent", "status", "--format", "json")
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return err
		}
		if s.Cluster.Connected || s.Cluster.Error == "" || s.Cluster.LastSeen == "" {
			return errors.New(out)
		}
		return nil
	})
	if out := c.berth(a, "agent", "status"); !strings.Contains(out, "last answered at") {
		t.Errorf("status without etcd:\n%s", out)
	}
	c.agents[a].Kill()
	if out := c.berth(a, "network", "inspect", "wide"); !strings.Contains(out, "what this host alone knows") || !strings.Contains(out, "10.42.0.0/24") {
		t.Errorf("inspect without an agent:\n%s", out)
	}
	if out, err := c.tryBerth(a, "network", "rm", "wide"); err == nil || !strings.Contains(out, "no agent answers") {
		t.Errorf("rm of the cluster's network without an agent: %v: %s", err, out)
	}
}

func TestAnAgentRefusesWhatItCannotDoBeforeItTouchesAnything(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	berth := filepath.Join(binaries(t), "berth")
	before, err := h.Inventory()
	if err != nil {
		t.Fatal(err)
	}
	h.Run("sh", "-c", "mkdir -p /etc/berth; printf 'ttl = 1s\nmetrics = x\n' >/etc/berth/agent.conf")
	out, err := h.Try(berth, "agent", "--config", "/etc/berth/agent.conf")
	if err == nil || !strings.Contains(out, "/etc/berth/agent.conf:1: ttl") || !strings.Contains(out, "/etc/berth/agent.conf:2: metrics") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = h.Try(berth, "agent", "--etcd", "http://192.0.2.100:2379", "--bind", "192.0.2.77")
	if err == nil || !strings.Contains(out, "192.0.2.77") || !strings.Contains(out, "--bind") {
		t.Errorf("%v: %s", err, out)
	}
	after, err := h.Inventory()
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("the host was %q and is %q, %v", before, after, err)
	}
}
