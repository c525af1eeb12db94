package agent_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-net/berth/agent/api"
)

func requireEtcdctl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("etcdctl"); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("etcdctl is not installed (Debian: etcd-client)")
	}
	t.Skip("etcdctl is not installed (Debian: etcd-client)")
}

const backupFile = "/var/lib/etcd-backup"

func (w *world) backUp() {
	w.Helper()
	w.server.Run("env", "ETCDCTL_API=3", "etcdctl", "--endpoints", w.etcdURL(), "snapshot", "save", backupFile)
}

// restore starts an etcd with what the backup has, and returns how far the one
// before had come.
func (w *world) restore() (before int64) {
	w.Helper()
	before = w.revision()
	w.etcd.Kill()
	w.server.Run("rm", "-r", w.TempDirOf())
	w.server.Run("env", "ETCDCTL_API=3", "etcdctl", "snapshot", "restore", backupFile, "--data-dir", w.TempDirOf())
	w.startEtcd()
	w.eventually("etcd to be back", func() error {
		_, err := w.server.Try("env", "ETCDCTL_API=3", "etcdctl", "--endpoints", w.etcdURL(), "endpoint", "health")
		return err
	})
	if now := w.revision(); now >= before {
		w.Fatalf("the backup is of revision %d, etcd had come to %d", now, before)
	}
	return before
}

// overtake has etcd come further than a revision.
func (w *world) overtake(revision int64) {
	w.Helper()
	for w.revision() <= revision+20 {
		w.kv("put", fmt.Sprintf(`{"key":%q}`, key64("/other")))
	}
}

func (w *world) revision() int64 {
	w.Helper()
	revision, err := strconv.ParseInt(w.kv("range", fmt.Sprintf(`{"key":%q}`, key64("/berth/schema"))).Header.Revision, 10, 64)
	if err != nil {
		w.Fatal(err)
	}
	return revision
}

// blockOwner is whom etcd says an address belongs to.
func (w *world) blockOwner(a netip.Addr) string {
	w.Helper()
	for _, line := range w.keysBelow("/berth/v1/blocks/front/") {
		key, value, _ := strings.Cut(line, " ")
		block, err := netip.ParsePrefix(strings.ReplaceAll(key[strings.LastIndex(key, "/")+1:], "_", "/"))
		if err != nil {
			w.Fatal(err)
		}
		if block.Contains(a) {
			return strings.Split(value, `"`)[3]
		}
	}
	return ""
}

// worldOfABackup: since the backup was made, h1 was given addresses, of which
// the other two know. Now all are cut off from etcd, and it is restored.
func worldOfABackup(t *testing.T) (w *world, a, b *member, before int64) {
	t.Helper()
	requireEtcdctl(t)
	w = newWorld(t, 3)
	b = w.add(w.hosts[1], "b")
	w.backUp()
	a = w.add(w.hosts[0], "a")
	w.everyPair([]*member{a, b})
	w.eventually("h3 to know both", func() error {
		answer, err := w.call(w.hosts[2], api.Request{Inspect: &api.NetworkName{Name: "front"}})
		if err == nil && len(answer.Network.Endpoints) != 2 {
			err = fmt.Errorf("%+v", answer.Network)
		}
		return err
	})
	for _, h := range w.hosts {
		w.cutOff(h)
	}
	before = w.restore()
	if owner := w.blockOwner(a.ips[0]); owner != "" {
		t.Fatalf("the backup has the block of %s, of %s", a.ips[0], owner)
	}
	return w, a, b, before
}

// The hosts that know better than a backup give an absent host's addresses back
// to it, before one of them takes them itself.
func TestABackupDoesNotGiveTheAddressesOfAnAbsentHost(t *testing.T) {
	t.Parallel()
	w, a, b, before := worldOfABackup(t)
	w.overtake(before)
	w.letBack(w.hosts[1])
	w.letBack(w.hosts[2])
	c := w.addAgain(w.hosts[2], "c")
	w.eventually("etcd to have the owner again", func() error {
		if owner := w.blockOwner(a.ips[0]); owner != "h1" {
			return fmt.Errorf("%s belongs to %q", a.ips[0], owner)
		}
		return nil
	})
	w.letBack(w.hosts[0])
	w.everyPair([]*member{a, b, c, w.addAgain(w.hosts[0], "d")})
}

// Where nobody knows better, the absent host finds out when it is back, though
// etcd has come further than it had when they parted: what was given to another
// is not this host's any more.
func TestAHostFindsOutThatItsAddressesWereGivenByABackup(t *testing.T) {
	t.Parallel()
	w, a, b, before := worldOfABackup(t)
	for _, h := range w.hosts[1:] {
		w.agents[h].Kill()
		h.Run("sh", "-c", "rm -f /run/berth/*/cluster.json")
		w.letBack(h)
		w.startAgent(h)
	}
	c := w.addAgain(w.hosts[2], "c")
	if owner := w.blockOwner(a.ips[0]); owner != "h3" {
		t.Fatalf("%s belongs to %q, want the host that has asked first", a.ips[0], owner)
	}
	w.overtake(before)
	h := w.hosts[0]
	w.letBack(h)
	w.eventually("h1 to tell of it", func() error {
		s, err := w.status(h)
		if err == nil && !strings.Contains(fmt.Sprint(s.Errors), "container a is off network front") {
			err = errors.New(fmt.Sprint(s.Errors))
		}
		return err
	})
	if err := a.TryPing("10.42.0.1"); err == nil {
		t.Errorf("a is on the network with %s, which is %s's to give", a.ips[0], w.blockOwner(a.ips[0]))
	}
	d := w.addAgain(h, "d")
	if owner := w.blockOwner(d.ips[0]); owner != "h1" {
		t.Errorf("h1 has given out %s of host %q", d.ips[0], owner)
	}
	w.everyPair([]*member{b, c, d})
}

// A proxy of the environment is not asked for etcd.
func TestTheAgentReachesEtcdDirectly(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, bothFamilies, 2, func(int) []string {
		return []string{"HTTPS_PROXY=http://192.0.2.99:3128", "https_proxy=http://192.0.2.99:3128", "HTTP_PROXY=http://192.0.2.99:3128"}
	})
	w.everyPair([]*member{w.add(w.hosts[0], "a"), w.add(w.hosts[1], "b")})
}

// A host that etcd does not know while it recovers, or before it was read, is a
// peer as before: not a packet is lost.
func TestPeersStayWhileEtcdRecovers(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	w := &secretWorld{world: newWorldWith(t, bothFamilies, 2, func(int) []string {
		return []string{agentWireGuard + "=userspace", agentTTL + "=30s"}
	})}
	a, b := w.addSecret(w.hosts[0], "a"), w.addSecret(w.hosts[1], "b")
	w.everyPair([]*member{a, b})
	w.etcd.Kill()
	h := w.hosts[0]
	w.stopAgent(h)
	w.startAgent(h)
	w.eventually("the agent to be there", func() error { _, err := w.status(h); return err })
	a.Ping(b.ips[0].String())
	w.addSecret(h, "c")
	if err := a.TryPing(b.ips[0].String()); err != nil {
		t.Errorf("an ADD without etcd: %v", err)
	}

	pings := a.Background("ping", "-i", "0.1", "-W", "2", "-q", b.ips[0].String())
	w.hosts[1].Run("nft", "add", "table", "inet", "partition")
	w.hosts[1].Run("nft", "add", "chain", "inet", "partition", "in", "{ type filter hook input priority 0; tcp sport 2379 drop; }")
	w.server.Run("rm", "-r", w.TempDirOf())
	w.startEtcd()
	w.noticesTheLoss(h)
	w.eventually("h1 to have told its own", func() error {
		if lines := w.keysBelow("/berth/v1/endpoints/front/h1/"); len(lines) != 2 {
			return fmt.Errorf("%q", lines)
		}
		return nil
	})
	if lines := w.keysBelow("/berth/v1/hosts/h2"); len(lines) > 0 {
		t.Errorf("etcd knows h2: %q", lines)
	}
	w.letBack(w.hosts[1])
	w.knows(w.hosts[1], &member{ips: a.ips, Container: a.Container}, true)
	w.eventually("etcd to know b", func() error {
		if lines := w.keysBelow("/berth/v1/endpoints/front/h2/"); len(lines) != 1 {
			return fmt.Errorf("%q", lines)
		}
		return nil
	})
	if err := pings.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-pings.Done()
	if out := pings.Output(); !strings.Contains(out, " 0% packet loss") {
		t.Errorf("peers were dropped:\n%s", out)
	}
}
