package attach_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// fakePlugin is the name by which the test binary is an IPAM plugin.
const fakePlugin = "fake-ipam"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == fakePlugin {
		fakeIPAM()
		return
	}
	nettest.Main(m)
}

// fakeIPAM writes down each call where its configuration says, and fails the
// verb that the configuration names.
func fakeIPAM() {
	var conf struct {
		IPAM struct{ Log, Fail string } `json:"ipam"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&conf); err != nil {
		fmt.Printf(`{"code":6,"msg":%q}`, err)
		os.Exit(1)
	}
	verb := os.Getenv("CNI_COMMAND")
	line := fmt.Sprintln(verb, os.Getenv("CNI_CONTAINERID"), os.Getenv("CNI_IFNAME"), os.Getenv("CNI_ARGS"))
	f, err := os.OpenFile(conf.IPAM.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		f.WriteString(line)
		f.Close()
	}
	switch {
	case verb == conf.IPAM.Fail:
		fmt.Print(`{"cniVersion":"1.0.0","code":11,"msg":"come back later"}`)
		os.Exit(1)
	case verb == "ADD":
		fmt.Print(`{"cniVersion":"1.0.0","ips":[{"address":"10.7.0.9/24","gateway":"10.7.0.1"}],"routes":[{"dst":"0.0.0.0/0"}]}`)
	}
}

// world is a state and a directory of plugins; its containers are on a host
// of their own, found by /proc, so that the test need not be inside.
type world struct {
	*testing.T
	store    *state.Store
	host     *nettest.Host
	bin, log string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, store: state.ForBoot(t.TempDir(), "boot"), host: nettest.NewHost(t, "h"), bin: t.TempDir()}
	w.log = filepath.Join(w.bin, "log")
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(w.bin, fakePlugin))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

const embedded = `{"type":"berth-ipam","ranges":[[{"subnet":"10.7.0.0/29","rangeEnd":"10.7.0.3"}]]}`

func (w *world) fake(fail string) string {
	return fmt.Sprintf(`{"type":%q,"log":%q,"fail":%q}`, fakePlugin, w.log, fail)
}

// container makes a namespace and returns its path and what ends it.
func (w *world) container(name string) (path string, end func()) {
	w.Helper()
	h := nettest.NewHost(w.T, name)
	network, _ := h.Namespaces()
	link := filepath.Join(w.bin, name)
	if err := os.Symlink(network, link); err != nil {
		w.Fatal(err)
	}
	return link, func() { os.Remove(link) }
}

func (w *world) request(container, path, ipam string) *plugins.Request {
	return &plugins.Request{
		Network: plugins.Network{
			Name: "net", Type: "test", CNIVersion: "1.0.0", Path: []string{w.bin},
			Config: []byte(`{"cniVersion":"1.0.0","name":"net","type":"test","ipam":` + ipam + `}`),
		},
		ContainerID: container, NetNS: path, IfName: "eth0",
		Args: plugins.Args{Raw: map[string]string{"K": "v", "A": "b"}},
	}
}

func (w *world) begin(req *plugins.Request, ipam string) (*attach.Attachment, error) {
	return attach.Begin(w.Context(), w.store, req, attach.Spec{IPAM: json.RawMessage(ipam), Del: w.del})
}

// add is a driver's whole Add.
func (w *world) add(container, path, ipam string) *attach.Attachment {
	w.Helper()
	a, err := w.begin(w.request(container, path, ipam), ipam)
	if err != nil {
		w.Fatal(err)
	}
	if err := a.Delegate(w.Context()); err != nil {
		w.Fatal(a.Abort(err))
	}
	if err := a.Done(&plugins.Result{}); err != nil {
		w.Fatal(err)
	}
	return a
}

func (w *world) del(ctx context.Context, req *plugins.Request) error {
	return attach.End(ctx, w.store, req, func(*endpoint.Record) error { return nil })
}

// calls are those that the fake plugin got since the last look.
func (w *world) calls() string {
	raw, _ := os.ReadFile(w.log)
	os.Remove(w.log)
	return strings.ReplaceAll(strings.TrimSpace(string(raw)), "\n", "; ")
}

func (w *world) expectNothing() {
	w.Helper()
	err := w.store.View(func(tx *state.Tx) error {
		records, err := endpoint.List(tx, "")
		held, heldErr := ipam.Holdings(tx, "")
		if len(records)+len(held) != 0 || heldErr != nil {
			w.Errorf("left: records %v, leases %v, %v", records, held, heldErr)
		}
		return err
	})
	if err != nil {
		w.Error(err)
	}
}
