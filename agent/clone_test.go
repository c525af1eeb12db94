package agent_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// clone makes a host with what another has of the boot that both take part in,
// as a copy of a running machine has, and starts its agent by a name.
func (w *world) clone(of *nettest.Host, number int, name string) *nettest.Host {
	w.Helper()
	h := nettest.NewHost(w, name)
	w.underlay.Join(h, "eth0", w.of(number)...)
	for path := range strings.FieldsSeq(of.Run("sh", "-c", "ls /run/berth/*/instance /run/berth/*/wireguard.key /run/berth/*/cluster.json")) {
		content := of.Run("cat", path)
		if err := h.Do(func() error {
			return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600))
		}); err != nil {
			w.Fatal(err)
		}
	}
	w.settings[h] = w.settings[of]
	w.startAgent(h)
	return h
}

// Two hosts with one key would get what is sent to the other, each as soon as
// it has sent something itself. Who finds out gives it up.
func TestACopyOfARunningHostGetsAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	w := newWorldWith(t, bothFamilies, 2, func(int) []string { return []string{agentWireGuard + "=" + mesh.Userspace} })
	original, third := w.hosts[0], w.hosts[1]
	members := []*member{w.addTo(original, "a", "front", secret), w.addTo(third, "b", "front", secret)}
	w.everyPair(members)
	copied := w.clone(original, 3, "h3")
	w.eventually("the copy to be there", func() error { _, err := w.status(copied); return err })
	members = append(members, w.addTo(copied, "c", "front", secret))
	w.everyPair(members)
	one, other := w.meshOf(original), w.meshOf(copied)
	if one.Key == other.Key || one.Address == other.Address {
		t.Errorf("of the two one has %+v and the other %+v", one, other)
	}
	w.expectProblem(copied, "host h1, at 192.0.2.1, has this host's key for encrypted networks")
	w.expectPeersAt(third, map[string]netip.Addr{"h1": w.vtep(1), "h3": w.vtep(3)})

	// Whom the others know already finds out by what a copy tells of itself.
	w.kv("put", fmt.Sprintf(`{"key":%q,"value":%q}`, key64("/berth/v1/hosts/h9"),
		key64(fmt.Sprintf(`{"name":"h9","instance":"x","address":"192.0.2.9","key":%q,"port":51840,"tunnel":"fe80::9"}`, one.Key))))
	w.expectProblem(original, "host h9, at 192.0.2.9, has this host's key for encrypted networks")
	if now := w.meshOf(original); now.Key == one.Key {
		t.Error("h1 has the key of h9 still")
	}
	w.everyPair(members)
}

func (w *world) meshOf(h *nettest.Host) *api.Mesh {
	w.Helper()
	s, err := w.status(h)
	if err != nil || s.Mesh == nil {
		w.Fatalf("status of %s: %+v, %v", h.Name, s, err)
	}
	return s.Mesh
}

// expectProblem waits until the status of a host has it among the last errors.
func (w *world) expectProblem(h *nettest.Host, want string) {
	w.Helper()
	w.eventually(h.Name+" to tell: "+want, func() error {
		s, err := w.status(h)
		if err == nil && !strings.Contains(fmt.Sprint(s.Errors), want) {
			err = fmt.Errorf("%+v", s.Errors)
		}
		return err
	})
}

// expectPeersAt: where a host sends to is where its peers are, whatever it has
// heard from whom.
func (w *world) expectPeersAt(h *nettest.Host, want map[string]netip.Addr) {
	w.Helper()
	w.eventually("the peers of "+h.Name, func() error {
		s, err := w.status(h)
		if err != nil {
			return err
		}
		have := map[string]netip.Addr{}
		for _, p := range s.Mesh.Peers {
			have[p.Host] = p.Endpoint.Addr()
		}
		if fmt.Sprint(have) != fmt.Sprint(want) {
			return fmt.Errorf("%v, want %v", have, want)
		}
		return nil
	})
}

// Who has another's name gives out none of its addresses, whether it is a copy
// of the running machine or only of its disk.
func TestANamesakeIsKeptOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.everyPair([]*member{w.add(w.hosts[0], "a"), w.add(w.hosts[1], "b")})
	disk := nettest.NewHost(t, "h1")
	w.underlay.Join(disk, "eth0", w.of(4)...)
	w.startAgent(disk)
	for what, h := range map[string]*nettest.Host{"running machine": w.clone(w.hosts[0], 3, "h1"), "disk": disk} {
		n := 0
		w.eventually("a refusal by the copy of a "+what, func() error {
			s, err := w.status(h)
			if err != nil {
				return err
			}
			n++
			_, err = tryAdd(h, request(h.NewContainer(fmt.Sprintf("x%d", n))))
			var coded *plugins.Error
			if err == nil {
				t.Fatalf("the copy of a %s gives out addresses", what)
			}
			if !errors.As(err, &coded) || coded.Code != plugins.CodeTryAgain || !strings.Contains(err.Error(), "it is at 192.0.2.1") {
				return err
			}
			if !strings.Contains(fmt.Sprint(s.Warnings), "another host of the cluster has this name") {
				return fmt.Errorf("status warns of %q", s.Warnings)
			}
			return nil
		})
	}
	if s, err := w.status(w.hosts[1]); err != nil || len(s.Cluster.Peers) != 1 || s.Cluster.Peers[0].Address != w.vtep(1) {
		t.Errorf("h2 sees %+v, %v", s, err)
	}
}
