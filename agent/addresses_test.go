package agent_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins/overlay"
)

// fixed leaves most of its subnet to those who ask for an address.
const fixed = `{"type":"overlay","controlPlane":"etcd","ipam":{"type":"berth-ipam","ranges":[
	[{"subnet":"10.45.0.0/24","rangeStart":"10.45.0.10","rangeEnd":"10.45.0.99"}]]}}`

func (w *world) tryStatic(h *nettest.Host, name, addr string) (*member, error) {
	c := h.NewContainer(name)
	req := request(c)
	req.Name, req.Config = "fixed", []byte(fixed)
	req.Runtime.IPs = []netip.Prefix{netip.MustParsePrefix(addr)}
	_, err := tryAdd(h, req)
	return &member{Container: c, host: h}, err
}

// Inside a range an address belongs to who has its block, outside it is
// claimed alone; either way no other host gets it before it is released.
func TestAStaticAddressIsGivenOnceInTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	for i, addr := range []string{"10.45.0.200/24", "10.45.0.77/24"} {
		m, err := w.tryStatic(w.hosts[0], fmt.Sprintf("first%d", i), addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.tryStatic(w.hosts[1], fmt.Sprintf("second%d", i), addr); err == nil || !strings.Contains(err.Error(), "h1") {
			t.Errorf("%s on a second host: %v; want an error that names h1", addr, err)
		}
		w.delFrom("fixed", fixed, m)
		if i == 1 {
			continue // the block stays with its host
		}
		w.eventually(addr+" to be free", func() error {
			_, err := w.tryStatic(w.hosts[1], fmt.Sprintf("third%d", i), addr)
			return err
		})
	}
}

func TestAVNIIsAllocatedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	var wg sync.WaitGroup
	created := make([]error, len(w.hosts))
	for i, h := range w.hosts {
		c := h.NewContainer(fmt.Sprintf("c%d", i))
		wg.Go(func() {
			if _, err := tryAdd(h, request(c)); err != nil {
				t.Errorf("the first container on %s: %v", h.Name, err)
			}
		})
		wg.Go(func() {
			_, created[i] = w.call(h, api.Request{CreateNetwork: &api.CreateNetwork{Name: "other", Config: []byte(fixed)}})
		})
	}
	wg.Wait()
	if failed := len(slices.DeleteFunc(slices.Clone(created), func(err error) bool { return err == nil })); failed != 2 {
		t.Errorf("create on three hosts at once: %v; want one that succeeds", created)
	}
	vnis := map[string]bool{}
	for _, h := range w.hosts {
		_, rest, _ := strings.Cut(h.Run("ip", "-d", "link", "show", "vx-front"), "vxlan id ")
		vnis[strings.Fields(rest)[0]] = true
	}
	if len(vnis) != 1 {
		t.Errorf("the hosts have the VNIs %v", vnis)
	}
}

// tiny has four blocks.
const tiny = `{"type":"overlay","controlPlane":"etcd","ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.46.0.0/28","gateway":"10.46.0.1"}]]}}`

// blockKey is etcd's key of the block of an address.
func blockKey(network, subnet string, a netip.Addr) string {
	block := netip.PrefixFrom(a, cluster.BlockBits(netip.MustParsePrefix(subnet))).Masked()
	return "/berth/v1/blocks/" + network + "/" + strings.ReplaceAll(block.String(), "/", "_")
}

func tinyBlock(a netip.Addr) string { return blockKey("tiny", "10.46.0.0/28", a) }

// A block of tiny has four addresses, of which the first has the network's and
// the gateway's: the third container needs a second block.
func TestAHostTakesOneBlockMoreWhenItsOwnAreUsedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	holder := map[netip.Addr]string{}
	for i := range 6 {
		m := w.addTo(w.hosts[0], fmt.Sprintf("c%d", i), "tiny", tiny)
		if other := holder[m.ips[0]]; other != "" {
			t.Errorf("%s was given to %s and to %s", m.ips[0], other, m.Name)
		}
		holder[m.ips[0]] = m.Name
		m.Ping("10.46.0.1")
	}
	blocks := map[string]bool{}
	for a := range holder {
		blocks[tinyBlock(a)] = true
	}
	if len(blocks) < 2 {
		t.Errorf("six addresses are of %v; want more than one block", blocks)
	}
}

func (w *world) cutOff(h *nettest.Host) {
	h.Run("nft", "add", "table", "inet", "partition")
	h.Run("nft", "add", "chain", "inet", "partition", "in", "{ type filter hook input priority 0; policy drop; }")
}

func (w *world) letBack(h *nettest.Host) { h.Run("nft", "delete", "table", "inet", "partition") }

// A host that is cut off for longer than its addresses are kept leaves its
// networks before they are given again. When it comes back, the container
// whose address another host has got stays off the network.
func TestAddressesOfALostHostAreGivenAgainOnlyWhenItIsFenced(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(w *world, lost *nettest.Host){
		"its agent stays": (*world).cutOff,
		"its agent is started while etcd is away": func(w *world, lost *nettest.Host) {
			w.cutOff(lost)
			w.agents[lost].Kill()
			w.startAgent(lost)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addressesOfALostHost(t, lose)
		})
	}
}

func addressesOfALostHost(t *testing.T, lose func(*world, *nettest.Host)) {
	w := newWorldWith(t, bothFamilies, 2, func(int) []string { return []string{agentReclaim + "=3s"} })
	lost, b := w.hosts[1], w.addTo(w.hosts[1], "b", "tiny", tiny)
	w.addTo(w.hosts[0], "a", "tiny", tiny)
	lose(w, lost)
	var heir *member
	n := 0
	w.eventually(b.ips[0].String()+" to be given again", func() error {
		n++
		c := w.hosts[0].NewContainer(fmt.Sprintf("heir%d", n))
		req := request(c)
		req.Name, req.Config = "tiny", []byte(tiny)
		r, err := tryAdd(w.hosts[0], req)
		if err != nil {
			return err
		}
		if r.IPs[0].Address.Addr() == b.ips[0] {
			heir = &member{Container: c, host: w.hosts[0], ips: b.ips}
			return nil
		}
		return fmt.Errorf("the next one is %s", r.IPs[0].Address)
	})
	if out := lost.Run("ip", "link", "show", "vx-tiny"); strings.Contains(out, ",UP") {
		t.Errorf("the lost host is on its network still:\n%s", out)
	}
	w.letBack(lost)
	w.eventually("the lost host to be back without b", func() error {
		answer, err := w.call(w.hosts[0], api.Request{Inspect: &api.NetworkName{Name: "tiny"}})
		if err != nil {
			return err
		}
		for _, e := range answer.Network.Endpoints {
			if e.ContainerID == b.Name {
				return fmt.Errorf("b is published: %+v", e)
			}
		}
		s, err := w.status(lost)
		if err != nil || !s.Cluster.Connected || !strings.Contains(fmt.Sprint(s.Warnings), "container b is off network tiny") {
			return fmt.Errorf("%v, %+v", err, s)
		}
		return nil
	})
	if err := b.TryPing("10.46.0.1"); err == nil {
		t.Errorf("b is on the network with the address of %s", heir.Name)
	}
	w.evicted(lost, b)
	w.delFrom("tiny", tiny, heir)
	w.letIn(lost, b)
}

// evicted looks at a host of whose containers on tiny none has an address that
// is its own: it serves the network as before.
func (w *world) evicted(h *nettest.Host, only *member) {
	w.Helper()
	w.eventually("the network to be served", func() error {
		s, err := w.status(h)
		if out, _ := h.Try("ip", "link", "show", "vx-tiny"); err != nil || len(s.Networks) != 1 || !strings.Contains(out, ",UP") {
			return fmt.Errorf("%v, %+v\n%s", err, s, out)
		}
		return nil
	})
	if metrics, err := h.TryGet("http://127.0.0.1:9470/metrics"); err != nil || !strings.Contains(metrics, "berth_agent_evicted_endpoints 1\n") {
		w.Errorf("metrics: %v\n%s", err, metrics)
	}
	req := request(only.Container)
	req.Name, req.Config = "tiny", []byte(tiny)
	err := on(h, func(d *overlay.Driver) error { return d.Check(context.Background(), req) })
	if err == nil || !strings.Contains(err.Error(), "berth agent status") {
		w.Errorf("check of the evicted container: %v", err)
	}
}

// letIn has the block of an evicted container belong to nobody: its host takes
// it, and puts the container back.
func (w *world) letIn(h *nettest.Host, m *member) {
	w.Helper()
	w.kv("deleterange", fmt.Sprintf(`{"key":%q}`, key64(tinyBlock(m.ips[0]))))
	w.eventually("the evicted container to be back", func() error { return m.TryPing("10.46.0.1") })
	w.eventually("the warning to end", func() error {
		if s, err := w.status(h); err != nil || len(s.Warnings) > 0 {
			return fmt.Errorf("%v, %+v", err, s)
		}
		return nil
	})
}
