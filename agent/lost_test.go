package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// loseEtcd starts an etcd that has nothing, and waits until the agents have
// noticed.
func (w *world) loseEtcd() {
	w.Helper()
	w.etcd.Kill()
	w.server.Run("rm", "-r", w.TempDirOf())
	w.startEtcd()
	for _, h := range w.hosts {
		w.noticesTheLoss(h)
	}
}

func (w *world) noticesTheLoss(h *nettest.Host) {
	w.Helper()
	w.eventually(h.Name+" to have read it anew", func() error {
		if out := w.agents[h].Output(); !strings.Contains(out, "etcd has lost what it knew") {
			return errors.New(out)
		}
		return nil
	})
}

// keysBelow are etcd's keys and values below a prefix, as lines.
func (w *world) keysBelow(prefix string) (lines []string) {
	w.Helper()
	end := prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1)
	for _, kv := range w.kv("range", fmt.Sprintf(`{"key":%q,"range_end":%q}`, key64(prefix), key64(end))).Kvs {
		lines = append(lines, string(kv.Key)+" "+string(kv.Value))
	}
	return lines
}

// The networks that hosts use are made again as they were, with who gives out
// which addresses, and traffic goes on meanwhile.
func TestNetworksThatEtcdHasLostAreMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	create := api.Request{CreateNetwork: &api.CreateNetwork{Name: "front", Config: []byte(front), Labels: map[string]string{"of": "test"},
		List: []byte(`{"cniVersion":"1.0.0","name":"front","plugins":[` + front + `]}`)}}
	if _, err := w.call(w.hosts[2], create); err != nil {
		t.Fatal(err)
	}
	a, b := w.add(w.hosts[0], "a"), w.add(w.hosts[1], "b")
	w.everyPair([]*member{a, b})
	w.del(w.add(w.hosts[2], "gone")) // its block is its host's still
	var before []string
	for _, below := range []string{"/berth/v1/networks/", "/berth/v1/vnis/", "/berth/v1/blocks/"} {
		before = append(before, w.keysBelow(below)...)
	}
	pings := a.Background("ping", "-i", "0.1", "-c", "60", "-W", "2", "-q", b.ips[0].String())
	w.loseEtcd()
	w.eventually("etcd to have the network again", func() error {
		have := w.keysBelow("/berth/v1/")
		for _, line := range before {
			if !slices.Contains(have, line) {
				return fmt.Errorf("%s is not among\n%s", line, strings.Join(have, "\n"))
			}
		}
		return nil
	})
	for _, h := range w.hosts {
		w.eventually(h.Name+" to know its containers", func() error {
			answer, err := w.call(h, api.Request{Inspect: &api.NetworkName{Name: "front"}})
			if err == nil && (len(answer.Network.Endpoints) != 2 || answer.Network.Labels["of"] != "test") {
				err = fmt.Errorf("%+v", answer.Network)
			}
			return err
		})
	}
	<-pings.Done()
	if out := pings.Output(); !strings.Contains(out, " 0% packet loss") {
		t.Errorf("traffic stopped meanwhile:\n%s", out)
	}
	w.everyPair([]*member{a, b, w.add(w.hosts[0], "c"), w.add(w.hosts[2], "d")})
}

// Etcd may be told of an endpoint before its host: until then the way that the
// others have stays.
func TestAnEndpointThatComesBeforeItsHostIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, bothFamilies, 2, func(int) []string { return []string{agentTTL + "=60s"} })
	one, two := w.hosts[0], w.hosts[1]
	a, b := w.add(one, "a"), w.add(two, "b")
	w.everyPair([]*member{a, b})
	var key, value string
	for _, line := range w.keysBelow("/berth/v1/endpoints/front/") {
		if strings.Contains(line, `"host":"h2"`) {
			key, value, _ = strings.Cut(line, " ")
		}
	}
	w.agents[two].Kill()
	w.etcd.Kill()
	w.server.Run("rm", "-r", w.TempDirOf())
	w.startEtcd()
	w.noticesTheLoss(one)
	tell := func() { w.kv("put", fmt.Sprintf(`{"key":%q,"value":%q}`, key64(key), key64(value))) }
	tell()
	w.eventually("h1 to read of it", func() error {
		answer, err := w.call(one, api.Request{Inspect: &api.NetworkName{Name: "front"}})
		if err == nil && len(answer.Network.Endpoints) != 2 {
			err = fmt.Errorf("%+v", answer.Network)
		}
		return err
	})
	// Changes are applied one after the other: when the second from now is begun
	// that one is done.
	for range 2 {
		before := w.changes(one)
		tell()
		w.eventually("another change", func() error {
			if n := w.changes(one); n == before {
				return errors.New(n)
			}
			return nil
		})
	}
	if out := entries(one); !strings.Contains(out, b.ips[0].String()+" ") {
		t.Errorf("h1 has forgotten b:\n%s", out)
	}
	a.Ping(b.ips[0].String())
}

// changes is a line that differs after each change that an agent applies.
func (w *world) changes(h *nettest.Host) string {
	w.Helper()
	metrics, err := h.TryGet("http://127.0.0.1:9470/metrics")
	if err != nil {
		w.Fatal(err)
	}
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "berth_agent_changes_total ") {
			return line
		}
	}
	w.Fatal(metrics)
	return ""
}

// addAgain adds a container as soon as there is another answer than to try
// again later.
func (w *world) addAgain(h *nettest.Host, name string) *member {
	w.Helper()
	m := &member{Container: h.NewContainer(name), host: h}
	m.Run("ip", "link", "set", "lo", "up")
	w.eventually("ADD "+name, func() error {
		r, err := tryAdd(h, request(m.Container))
		if err != nil {
			if coded := new(plugins.Error); !errors.As(err, &coded) || coded.Code != plugins.CodeTryAgain {
				w.Fatal(err)
			}
			return err
		}
		for _, ip := range r.IPs {
			m.ips = append(m.ips, ip.Address.Addr())
		}
		return nil
	})
	return m
}

// An ADD on a host that does not use the network is first, before the host that
// does is back: the network is the one of before.
func TestAnAddMakesALostNetworkAsItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	a := w.add(w.hosts[0], "a")
	vnis := w.keysBelow("/berth/v1/vnis/")
	w.eventually("h2 to know the network", func() error {
		_, err := w.call(w.hosts[1], api.Request{Inspect: &api.NetworkName{Name: "front"}})
		return err
	})
	w.cutOff(w.hosts[0])
	w.etcd.Kill()
	w.server.Run("rm", "-r", w.TempDirOf())
	w.startEtcd()
	w.noticesTheLoss(w.hosts[1])
	b := w.addAgain(w.hosts[1], "b")
	if have := w.keysBelow("/berth/v1/vnis/"); !slices.Equal(have, vnis) {
		t.Errorf("the VNIs are %q, were %q", have, vnis)
	}
	w.letBack(w.hosts[0])
	w.everyPair([]*member{a, b})
}

// Who is first with the name has it. A host whose containers are on what was
// lost says so, tells nobody of them, and lets no others join until they are
// gone.
func TestANetworkMadeMeanwhileCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	old := w.add(w.hosts[0], "old")
	h := w.hosts[0]
	w.cutOff(h)
	w.etcd.Kill()
	w.server.Run("rm", "-r", w.TempDirOf())
	w.startEtcd()
	other := strings.Replace(front, `"overlay"`, `"overlay","vni":77`, 1)
	w.eventually("another network front", func() error {
		_, err := w.call(w.hosts[1], api.Request{CreateNetwork: &api.CreateNetwork{Name: "front", Config: []byte(other)}})
		return err
	})
	w.letBack(h)
	w.eventually("h1 to tell of it", func() error {
		s, err := w.status(h)
		if err == nil && !strings.Contains(fmt.Sprint(s.Errors), "network of that name has 77: restart them") {
			err = fmt.Errorf("%+v", s.Errors)
		}
		return err
	})
	if lines := w.keysBelow("/berth/v1/endpoints/"); len(lines) > 0 {
		t.Errorf("published: %q", lines)
	}
	if _, err := tryAdd(h, request(h.NewContainer("refused"))); err == nil || !strings.Contains(err.Error(), "has 77") {
		t.Errorf("an ADD beside the old one: %v", err)
	}
	w.del(old)
	w.everyPair([]*member{w.add(h, "new"), w.add(w.hosts[1], "b")})
}
