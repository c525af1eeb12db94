package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
)

func (w *world) status(conf string) error {
	return on(w.host, func(d *bridge.Driver) error { return status(d, conf) })
}

func status(d *bridge.Driver, conf string) error {
	return d.Status(context.Background(), &plugins.Network{Name: "front", Type: "bridge", Config: []byte(conf)})
}

// unavailable wants code 50 (CNI 1.1.0, STATUS) and the reason.
func (w *world) unavailable(err error, reason string) {
	w.Helper()
	var coded *plugins.Error
	if !errors.As(err, &coded) || coded.Code != plugins.CodeNotAvailable || !strings.Contains(err.Error(), reason) {
		w.Errorf("status: %v; want code 50 and %q", err, reason)
	}
}

func TestStatusOfAHostThatIsReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.status(config(1, "")); err != nil {
		t.Errorf("without the bridge: %v", err)
	}
	w.add(request(w.host.NewContainer("c1"), "front", config(1, "")))
	if err := w.status(config(1, "")); err != nil {
		t.Errorf("with the bridge: %v", err)
	}
}

func TestStatusOfANameThatIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.Run("ip", "link", "add", "br1", "type", "veth", "peer", "name", "x")
	w.unavailable(w.status(config(1, "")), "br1 is there and is no bridge but of the kind veth")
	w.unavailable(w.status(`{"type":"bridge","bridge":"lo"}`), "lo is there and is no bridge; give")
}

func TestStatusWithoutPermission(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.unavailable(on(w.host, func(d *bridge.Driver) error {
		if err := dropNetAdmin(); err != nil {
			t.Fatal(err)
		}
		return status(d, config(1, ""))
	}), "CAP_NET_ADMIN")
}

// dropNetAdmin takes the capability from the calling thread, which a Host
// does not use again.
func dropNetAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	sets[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	sets[0].Permitted &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&header, &sets[0])
}

func TestStatusOfAnExhaustedRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const conf = `{"type":"bridge","bridge":"br1","isGateway":true,"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.1.0.0/30"}]]}}`
	if err := w.status(conf); err != nil {
		t.Fatal(err)
	}
	req := request(w.host.NewContainer("c1"), "front", conf)
	w.add(req)
	w.unavailable(w.status(conf), "network front: no free address: every address of 10.1.0.0/30")
	if _, err := w.tryAdd(request(w.host.NewContainer("c2"), "front", conf)); err == nil {
		t.Error("STATUS said the range was exhausted, and ADD succeeds")
	}
	w.del(req)
	if err := w.status(conf); err != nil {
		t.Errorf("after DEL: %v", err)
	}
}

// A bridge has 1,023 ports at most (BR_MAX_PORTS). Both ends of each pair are
// its ports here, and down.
func TestStatusAndAddOfAFullBridge(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes 1,023 ports")
	}
	w := newWorld(t)
	conf := config(1, "")
	script := []string{"link add br1 type bridge"}
	for i := range 512 {
		script = append(script, fmt.Sprintf("link add a%d type veth peer name b%d", i, i), fmt.Sprintf("link set a%d master br1", i))
		if i < 510 {
			script = append(script, fmt.Sprintf("link set b%d master br1", i))
		}
	}
	w.batch(script...)
	if err := w.status(conf); err != nil {
		t.Errorf("at 1,022 ports: %v", err)
	}
	w.batch("link set b510 master br1")
	w.unavailable(w.status(conf), "br1 is full: it has 1023 ports")
	c := w.host.NewContainer("c1")
	if _, err := w.tryAdd(request(c, "front", conf)); err == nil || !strings.Contains(err.Error(), "br1 is full") {
		t.Errorf("add to a full bridge: %v", err)
	}
	if out := c.Run("ip", "-o", "link"); strings.Contains(out, "eth0") {
		t.Errorf("left behind:\n%s", out)
	}
}

func (w *world) batch(lines ...string) {
	w.Helper()
	path := filepath.Join(w.TempDir(), "batch")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		w.Fatal(err)
	}
	w.host.Run("ip", "-batch", path)
}
