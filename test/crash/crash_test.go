package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/cniwire"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/table"
	"github.com/berth-net/berth/state"
)

// pluginVariable makes the test binary the plugin that it names.
const pluginVariable = "BERTH_TEST_PLUGIN"

func TestMain(m *testing.M) {
	if name := os.Getenv(pluginVariable); name != "" {
		runtime.LockOSThread()
		os.Exit(plugin(name))
	}
	nettest.Main(m)
}

func plugin(name string) int {
	call := cniwire.Call{
		Name: name, Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Lookup: func(name string) (plugins.Driver, error) {
			store, err := state.Default()
			if err != nil {
				return nil, err
			}
			return table.Lookup(name, store), nil
		},
	}
	return call.Run(context.Background())
}

// bridgeConfig is container i's; each publishes a port of its own.
func bridgeConfig(i int) string {
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"front","type":"bridge","bridge":"br-front","isGateway":true,"ipMasq":true,
		"capabilities":{"portMappings":true},"runtimeConfig":{"portMappings":[{"hostPort":%d,"containerPort":80,"protocol":"tcp"}]},
		"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.10.0.0/24"}],[{"subnet":"fd10::/64"}]]}}`, 20000+i)
}

// macvlanConfig is every container's, on a parent and with more keys.
func macvlanConfig(master, keys string) func(int) string {
	config := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"lan","type":"macvlan","master":%q,%s
		"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100"}],[{"subnet":"2001:db8::/64","rangeStart":"2001:db8::100"}]]}}`, master, keys)
	return func(int) string { return config }
}

const workers = 4

// world is a host, and a container runtime that knows no mercy.
type world struct {
	*testing.T
	host    *nettest.Host
	plugin  string
	config  func(i int) string
	longest time.Duration // until the kill; most calls end before
	keeps   bool          // the driver leaves a device and rules for the next container
}

// newWorld has a host with eth0 on a segment.
func newWorld(t *testing.T, plugin string, config func(int) string) *world {
	t.Helper()
	w := &world{T: t, host: nettest.NewHost(t, "host"), plugin: plugin, config: config}
	nettest.Link(w.host, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, nettest.NewHost(t, "lan"), "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	return w
}

// call runs a plugin on a container, and kills it after a while; 0: never.
func (w *world) call(verb string, i int, kill time.Duration) (out string, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Stdin = strings.NewReader(w.config(i))
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	cmd.Env = append(os.Environ(), pluginVariable+"="+w.plugin, "CNI_COMMAND="+verb, fmt.Sprintf("CNI_CONTAINERID=c%d", i),
		"CNI_NETNS="+netnsPath(i), "CNI_IFNAME=eth0", "CNI_PATH=/nowhere", "CNI_ARGS=")
	if err := w.host.Start(cmd); err != nil {
		return "", err
	}
	if kill > 0 {
		timer := time.AfterFunc(kill, func() { cmd.Process.Kill() })
		defer timer.Stop()
	}
	err = cmd.Wait()
	return printed.String(), err
}

func netnsPath(i int) string { return fmt.Sprintf("/run/netns/c%d", i) }

// round is the life of one container, with a kill at a random moment of its
// ADD or of its DEL. Sometimes the runtime tries again, and mostly it forgets.
func (w *world) round(i int) {
	err := w.host.Do(func() error {
		ns, err := netns.Create(netnsPath(i))
		if err != nil {
			return err
		}
		return ns.Close()
	})
	if err != nil {
		w.Error(err)
		return
	}
	moment := rand.N(w.longest) + 1
	if i%2 == 0 {
		w.call("ADD", i, moment)
	} else if out, err := w.call("ADD", i, 0); err != nil {
		w.Errorf("ADD of container %d: %v: %s", i, err, out)
	} else {
		w.call("DEL", i, moment)
	}
	switch rand.N(4) {
	case 0:
		if out, err := w.call("DEL", i, 0); err != nil {
			w.Errorf("DEL of container %d after a kill: %v: %s", i, err, out)
		}
	case 1:
		w.reconcile() // while others are being added
	}
	if err := w.host.Do(func() error { return netns.Unpin(netnsPath(i)) }); err != nil {
		w.Error(err)
	}
}

func (w *world) reconcile() {
	err := w.host.Do(func() error {
		c, err := network.Open(network.Options{Dir: "/run/no-networks"})
		if err != nil {
			return err
		}
		_, err = c.Reconcile(context.Background())
		return err
	})
	if err != nil {
		w.Error(err)
	}
}

// left lists everything that an attachment could have left.
func (w *world) left() []string {
	lines, err := w.host.Inventory()
	if err != nil {
		w.Fatal(err)
	}
	// The table's bytes of userdata and handles aside, an element is a line.
	err = w.host.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return store.View(func(tx *state.Tx) error {
			held, err := ipam.Holdings(tx, "")
			for _, h := range held {
				raw, _ := json.Marshal(h)
				lines = append(lines, "lease "+string(raw))
			}
			return err
		})
	})
	if err != nil {
		w.Fatal(err)
	}
	return lines
}

func TestKillAtAnyMomentLeavesNothingAfterReconcile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "bridge", bridgeConfig)
	w.keeps = true
	w.killAndReconcile(200)
}

// The macvlan driver's containers share devices of the host: the shim of
// hostAccess, and a VLAN that is made on demand.
func TestKillsLeaveNoDeviceForHostAccess(t *testing.T) {
	t.Parallel()
	newWorld(t, "macvlan", macvlanConfig("eth0", `"hostAccess":true,`)).killAndReconcile(100)
}

func TestKillsLeaveNoVLANParent(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.VLANDevices)
	newWorld(t, "macvlan", macvlanConfig("eth0.10", `"hostAccess":true,`)).killAndReconcile(24)
}

// killAndReconcile lets n containers live and die, and wants the host as it
// was.
func (w *world) killAndReconcile(n int) {
	w.Helper()
	before := w.left()
	w.rehearse()
	if w.keeps {
		before = w.left()
	}
	if testing.Short() {
		n = min(n, 40)
	}
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range numbers {
				w.round(i)
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()

	w.reconcile()
	nettest.Eventually(w, "the host is as before", func() error {
		after := w.left()
		diff := slices.DeleteFunc(after, func(line string) bool { return slices.Contains(before, line) })
		if len(diff) > 0 {
			return fmt.Errorf("left: %s", strings.Join(diff, "\n"))
		}
		return nil
	})
}

// rehearse adds and deletes one container, and sees how long that takes here.
func (w *world) rehearse() {
	w.Helper()
	first := -1
	if err := w.host.Do(func() error {
		ns, err := netns.Create(netnsPath(first))
		if err != nil {
			return err
		}
		return ns.Close()
	}); err != nil {
		w.Fatal(err)
	}
	for _, verb := range []string{"ADD", "DEL"} {
		begin := time.Now()
		if out, err := w.call(verb, first, 0); err != nil {
			w.Fatalf("%s: %v: %s", verb, err, out)
		}
		w.longest = max(w.longest, 2*time.Since(begin))
	}
	if err := w.host.Do(func() error { return netns.Unpin(netnsPath(first)) }); err != nil {
		w.Fatal(err)
	}
}
