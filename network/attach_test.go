package network_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/state"
)

// strangers is a host with a container and two networks of others.
func strangers(t *testing.T) (*nettest.Host, *nettest.Container, *stranger, *network.Catalogue) {
	t.Helper()
	h := nettest.NewHost(t, "h")
	s := newStranger(t)
	s.linkPlugin(t, "one", "10.1.0.2/24", "10.1.0.1")
	s.linkPlugin(t, "two", "10.2.0.2/24", "10.2.0.1")
	s.plugin(t, "pass", passPlugin)
	s.network(t, "net1", "one", "pass")
	s.network(t, "net2", "two")
	return h, h.NewContainer("c1"), s, open(t, s.root)
}

func defaultRoute(c *nettest.Container) string {
	return strings.TrimSpace(c.Run("ip", "route", "show", "default"))
}

func TestConnectRunsAChainOfOthersPlugins(t *testing.T) {
	t.Parallel()
	h, c, s, cat := strangers(t)
	ref := "netns:" + c.Path
	on(t, h, func() error {
		made, err := cat.Connect(context.Background(), "net1", ref, network.Endpoint{Aliases: []string{"web"}})
		if err != nil {
			return err
		}
		if made.IfName != "eth0" || len(made.Result.IPs) != 1 || made.Result.IPs[0].Address.String() != "10.1.0.2/24" {
			t.Errorf("attached %+v %+v", made.Key, made.Result)
		}
		i, err := cat.Inspect("net1")
		if err != nil {
			return err
		}
		e := i.Containers[made.ContainerID]
		if e.Name != "c1" || e.IPv4Address != "10.1.0.2/24" || e.MacAddress != "02:00:00:00:00:09" || e.IfName != "eth0" || e.State != "ready" {
			t.Errorf("inspect: %+v", e)
		}
		if _, err := cat.Connect(context.Background(), "net1", ref, network.Endpoint{}); !errors.Is(err, network.ErrAttached) {
			t.Errorf("connected twice: %v", err)
		}
		if err := cat.Disconnect(context.Background(), "net1", ref, false); err != nil {
			return err
		}
		if err := cat.Disconnect(context.Background(), "net1", ref, false); !errors.Is(err, network.ErrNotAttached) {
			t.Errorf("disconnected twice: %v", err)
		}
		return nil
	})
	if log := s.log(t, "one"); strings.Count(log, "ADD") != 1 || strings.Count(log, "DEL") != 1 || !strings.Contains(log, "K8S_POD_NAME=c1") {
		t.Errorf("plugin one was called so:\n%s", log)
	}
	if log := s.log(t, "pass"); log != "ADD\nDEL\n" {
		t.Errorf("plugin pass was called so: %q", log)
	}
	if out := c.Run("ip", "-o", "link"); strings.Count(out, "\n") != 1 {
		t.Errorf("left in the container:\n%s", out)
	}
}

func TestAPluginThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	h, c, s, cat := strangers(t)
	s.plugin(t, "fail", failPlugin)
	s.network(t, "bad", "one", "fail")
	on(t, h, func() error {
		_, err := cat.Connect(context.Background(), "bad", "netns:"+c.Path, network.Endpoint{})
		if err == nil || !strings.Contains(err.Error(), "plugin fail: out of order") {
			t.Errorf("error %v", err)
		}
		records, err := cat.Endpoints("")
		if len(records) != 0 {
			t.Errorf("records %v", records)
		}
		return err
	})
	if out := c.Run("ip", "-o", "link"); strings.Count(out, "\n") != 1 {
		t.Errorf("left in the container:\n%s", out)
	}
	if !strings.Contains(s.log(t, "fail"), "DEL") {
		t.Error("the plugin that failed was not told DEL (specification 1.1.0, section 2)")
	}
}

func TestTheDefaultRouteStaysUnlessAPriorityMovesIt(t *testing.T) {
	t.Parallel()
	h, c, s, cat := strangers(t)
	s.linkPlugin(t, "three", "10.3.0.2/24", "10.3.0.1")
	s.network(t, "anet3", "three")
	ref, ctx := "netns:"+c.Path, context.Background()
	steps := []struct {
		what string
		do   func() error
		want string
	}{
		{"the first network brings it", func() error { _, err := cat.Connect(ctx, "net1", ref, network.Endpoint{}); return err }, "via 10.1.0.1 dev eth0"},
		{"a second one leaves it, also when its name comes first", func() error { _, err := cat.Connect(ctx, "anet3", ref, network.Endpoint{}); return err }, "via 10.1.0.1 dev eth0"},
		{"a higher priority moves it", func() error { _, err := cat.Connect(ctx, "net2", ref, network.Endpoint{GwPriority: 1}); return err }, "via 10.2.0.1 dev eth2"},
		{"and gives it back", func() error { return cat.Disconnect(ctx, "net2", ref, false) }, "via 10.1.0.1 dev eth0"},
		{"the next one has it when the first ends", func() error { return cat.Disconnect(ctx, "net1", ref, false) }, "via 10.3.0.1 dev eth1"},
		{"the freed name is given again", func() error { _, err := cat.Connect(ctx, "net1", ref, network.Endpoint{GwPriority: -1}); return err }, "via 10.3.0.1 dev eth1"},
		{"and none is left at the end", func() error {
			return errors.Join(cat.Disconnect(ctx, "net1", ref, false), cat.Disconnect(ctx, "anet3", ref, false))
		}, ""},
	}
	for _, step := range steps {
		on(t, h, step.do)
		got := defaultRoute(c)
		if !strings.Contains(got, step.want) || strings.Count(got, "default") > 1 || step.want == "" && got != "" {
			t.Errorf("%s: default route %q, want %q", step.what, got, step.want)
		}
	}
}

func TestARouteThatSomebodyElseMadeComesBack(t *testing.T) {
	t.Parallel()
	h, c, _, cat := strangers(t)
	c.Run("ip", "link", "add", "mgmt", "type", "veth", "peer", "name", "xmgmt")
	c.Run("ip", "link", "set", "mgmt", "up")
	c.Run("ip", "link", "set", "xmgmt", "up")
	c.Run("ip", "address", "add", "10.99.0.2/24", "dev", "mgmt")
	c.Run("ip", "route", "add", "default", "via", "10.99.0.1")
	ref, ctx := "netns:"+c.Path, context.Background()
	on(t, h, func() error { _, err := cat.Connect(ctx, "net1", ref, network.Endpoint{}); return err })
	if got := defaultRoute(c); !strings.Contains(got, "10.99.0.1") {
		t.Errorf("connecting took the route: %q", got)
	}
	on(t, h, func() error { return cat.Disconnect(ctx, "net1", ref, false) })
	on(t, h, func() error { _, err := cat.Connect(ctx, "net1", ref, network.Endpoint{GwPriority: 5}); return err })
	if got := defaultRoute(c); !strings.Contains(got, "10.1.0.1") || strings.Contains(got, "10.99.0.1") {
		t.Errorf("with a priority: %q", got)
	}
	on(t, h, func() error { return cat.Disconnect(ctx, "net1", ref, false) })
	if got := defaultRoute(c); !strings.Contains(got, "10.99.0.1 dev mgmt") {
		t.Errorf("after disconnecting: %q", got)
	}
}

func TestConcurrentConnectsTakeDifferentNames(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	c, s := h.NewContainer("c1"), newStranger(t)
	const n = 6
	for i := range n {
		s.linkPlugin(t, fmt.Sprintf("p%d", i), fmt.Sprintf("10.%d.0.2/24", i+1), fmt.Sprintf("10.%d.0.1", i+1))
		s.network(t, fmt.Sprintf("net%d", i), fmt.Sprintf("p%d", i))
	}
	names := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		cat := open(t, s.root)
		wg.Go(func() {
			err := h.Do(func() error {
				made, err := cat.Connect(context.Background(), fmt.Sprintf("net%d", i), "netns:"+c.Path, network.Endpoint{})
				if err == nil {
					names[i] = made.IfName
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			t.Errorf("two networks have the interface %s: %v", name, names)
		}
		seen[name] = true
	}
	if got := defaultRoute(c); strings.Count(got, "default") != 1 {
		t.Errorf("default routes: %q", got)
	}
}

func TestConnectRefuses(t *testing.T) {
	t.Parallel()
	h, c, s, cat := strangers(t)
	c.Run("ip", "link", "add", "eth7", "type", "veth", "peer", "name", "x7")
	ref := "netns:" + c.Path
	for name, bad := range map[string]struct {
		network, ref string
		ep           network.Endpoint
		want         error
		text         string
	}{
		"no such network":    {"nope", ref, network.Endpoint{}, network.ErrNoNetwork, "nope"},
		"no such container":  {"net1", "ghost", network.Endpoint{}, network.ErrNoContainer, "pid:N"},
		"no such process":    {"net1", "pid:2147483647", network.Endpoint{}, network.ErrNoContainer, "2147483647"},
		"no number":          {"net1", "pid:../1", network.Endpoint{}, network.ErrInvalid, "pid:N"},
		"no such path":       {"net1", "netns:/run/netns/nope", network.Endpoint{}, network.ErrNoContainer, "nope"},
		"a path of no netns": {"net1", "netns:/etc/passwd", network.Endpoint{}, nil, "not a network namespace"},
		"the host's own":     {"net1", "netns:/proc/thread-self/ns/net", network.Endpoint{}, network.ErrInvalid, "host's"},
		"network host":       {"host", ref, network.Endpoint{}, network.ErrInvalid, "--network host"},
		"network none":       {"none", ref, network.Endpoint{}, network.ErrInvalid, "disconnect"},
		"interface is there": {"net1", ref, network.Endpoint{IfName: "eth7"}, network.ErrInvalid, "eth7"},
		"hostile interface":  {"net1", ref, network.Endpoint{IfName: "../../x"}, network.ErrInvalid, "../../x"},
		"loopback's name":    {"net1", ref, network.Endpoint{IfName: "lo"}, network.ErrInvalid, "loopback"},
		"multicast MAC":      {"net1", ref, network.Endpoint{MAC: []byte{1, 0, 0, 0, 0, 1}}, network.ErrInvalid, "unicast"},
		"alias with newline": {"net1", ref, network.Endpoint{Aliases: []string{"a\nb"}}, network.ErrInvalid, "alias"},
	} {
		err := h.Do(func() error {
			_, err := cat.Connect(context.Background(), bad.network, bad.ref, bad.ep)
			return err
		})
		if err == nil || bad.want != nil && !errors.Is(err, bad.want) || !strings.Contains(err.Error(), bad.text) {
			t.Errorf("%s: error %v, want %v with %q", name, err, bad.want, bad.text)
		}
	}
	if log := s.log(t, "one"); log != "" {
		t.Errorf("a plugin was called although the request is wrong:\n%s", log)
	}
}

func TestRemoveRefusesWhileAContainerIsConnected(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	c, s := h.NewContainer("web"), newStranger(t)
	cat := open(t, s.root)
	h.Run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
	h.Run("ip", "link", "set", "up0", "up")
	h.Run("ip", "link", "set", "up1", "up")
	create(t, cat, network.CreateSpec{
		Name: "front", Driver: "macvlan", Options: map[string]string{"parent": "up0"}, Subnets: []network.Subnet{subnet("10.1.0.0/24")},
	})
	ref, ctx := "netns:"+c.Path, context.Background()
	on(t, h, func() error { _, err := cat.Connect(ctx, "front", ref, network.Endpoint{}); return err })
	on(t, h, func() error {
		if err := cat.Remove(ctx, "front"); !errors.Is(err, network.ErrInUse) || !strings.Contains(err.Error(), "web") {
			t.Errorf("removed while in use: %v", err)
		}
		if removed, err := cat.Prune(ctx, nil, nil); len(removed) != 0 || err != nil {
			t.Errorf("pruned while in use: %v, %v", removed, err)
		}
		if err := cat.Disconnect(ctx, "front", ref, false); err != nil {
			return err
		}
		removed, err := cat.Prune(ctx, nil, nil)
		if len(removed) != 1 || removed[0] != "front" {
			t.Errorf("pruned %v", removed)
		}
		return err
	})
}

// stopped is a container runtime with one container, which is stopped.
type stopped struct{ networks []string }

func (s stopped) Container(context.Context, string) (network.Container, error) {
	return network.Container{ID: "c1", Name: "web", Networks: s.networks}, nil
}

func (s stopped) Containers(ctx context.Context) ([]network.Container, error) {
	c, err := s.Container(ctx, "")
	return []network.Container{c}, err
}

func TestPruneCountsStoppedContainers(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	cat, err := network.Open(network.Options{
		Dir: root + "/net.d", Store: state.ForBoot(root+"/run", "11111111-1111-1111-1111-111111111111"),
		Containers: stopped{networks: []string{"used"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"used", "unused"} {
		create(t, cat, network.CreateSpec{Name: name, Driver: "none"})
	}
	removed, err := cat.Prune(t.Context(), nil, nil)
	if err != nil || !slices.Equal(removed, []string{"unused"}) {
		t.Errorf("pruned %v, %v", removed, err)
	}
	if _, err := cat.Connect(t.Context(), "used", "web", network.Endpoint{}); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("connecting a stopped container: %v", err)
	}
}
