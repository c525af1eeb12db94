package names_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/agent/names"
	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// world is a host whose names are served.
type world struct {
	*testing.T
	host    *nettest.Host
	store   *state.Store
	service *names.Service
	end     func() error // ends the service, and is how it ended
	made    int          // records
}

func newWorld(t *testing.T, asks netip.AddrPort) *world {
	t.Helper()
	w := &world{T: t, host: nettest.NewHost(t, "host"), store: state.ForBoot(t.TempDir(), "boot")}
	w.service = names.New(names.Options{Store: w.store, Host: asks, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.host.Do(func() error { return w.service.Run(ctx) }) }()
	w.end = func() error { cancel(); return <-ended }
	t.Cleanup(func() { cancel() })
	return w
}

// record attaches a namespace, found at path inside the host, to network front.
func (w *world) record(path, name string, edit ...func(*endpoint.Record)) endpoint.Key {
	w.Helper()
	w.made++
	r := &endpoint.Record{
		Key:    endpoint.Key{Network: "front", ContainerID: fmt.Sprintf("%032d", w.made), IfName: "eth0"},
		Driver: "bridge", Phase: endpoint.Ready, Name: name, NetNS: path, Created: time.Unix(int64(w.made), 0), Config: []byte(`{"names":true}`),
		Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 10, 0, byte(w.made)}), 24)},
		Result:    &plugins.Result{DNS: plugins.DNS{Search: []string{"corp.example"}, Nameservers: []string{"192.0.2.53"}}},
	}
	if err := w.host.Do(func() error {
		ns, err := netns.Open(path)
		if err != nil {
			return err
		}
		defer ns.Close()
		r.NetNSID, err = ns.ID()
		return err
	}); err != nil {
		w.Fatal(err)
	}
	for _, e := range edit {
		e(r)
	}
	w.update(func(tx *state.Tx) error { return endpoint.Put(tx, r) })
	return r.Key
}

func (w *world) update(do func(*state.Tx) error) {
	w.Helper()
	if err := w.store.Update(do); err != nil {
		w.Fatal(err)
	}
}

func (w *world) serve(key endpoint.Key) (settings *plugins.DNS, err error) {
	err = w.host.Do(func() error { settings, err = w.service.Serve(key); return err })
	return settings, err
}

func container(t *testing.T, name string) (c *nettest.Host, path string) {
	t.Helper()
	c = nettest.NewHost(t, name)
	path, _ = c.Namespaces()
	return c, path
}

func (w *world) eventually(in *nettest.Host, name, want string) {
	w.Helper()
	nettest.Eventually(w, "the answer in "+in.Name+": "+want, func() error {
		if got := in.LookUp("127.0.0.11:53", name, wire.TypeA); !strings.Contains(got, want) {
			return errors.New(got)
		}
		return nil
	})
}

func (w *world) expectServed(n int) {
	w.Helper()
	nettest.Eventually(w, fmt.Sprintf("%d resolvers", n), func() error {
		if s := w.service.Status(); s.Containers != n {
			return fmt.Errorf("%d", s.Containers)
		}
		return nil
	})
}

// Who is told of a change looks at once, not when the next look is due: three
// that are waited for one after the other would take three looks.
func TestResolversComeAndGoWithTheirContainers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, netip.AddrPort{})
	begin := time.Now()
	var keys []endpoint.Key
	var last *nettest.Host
	for i := range 3 {
		c, path := container(t, fmt.Sprintf("c%d", i))
		keys, last = append(keys, w.record(path, c.Name)), c
		w.eventually(c, "c0", "NOERROR 10.10.0.1")
	}
	if took := time.Since(begin); took > 9*time.Second {
		t.Errorf("three resolvers took %s", took)
	}
	w.expectServed(3)
	w.update(func(tx *state.Tx) error { return endpoint.Delete(tx, keys[2]) })
	w.eventually(last, "c0", "refused")
	w.expectServed(2)
	c, path := container(t, "late")
	w.record(path, c.Name)
	w.eventually(c, "c1", "NOERROR 10.10.0.2")
	if err := w.end(); !errors.Is(err, context.Canceled) && err != nil {
		t.Error(err)
	}
	w.eventually(c, "c1", "refused")
	w.expectServed(0)
}

// Where no resolver was asked for, or one of its own serves, none is opened.
func TestWhoIsNotServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, netip.AddrPort{})
	quiet, quietPath := container(t, "quiet")
	server, serverPath := container(t, "server")
	shares, sharesPath := container(t, "shares") // its namespace with a container of the host driver
	unserved := map[*nettest.Host]endpoint.Key{
		quiet:  w.record(quietPath, "quiet", func(r *endpoint.Record) { r.Config = []byte(`{}`) }),
		server: w.record(serverPath, "server", func(r *endpoint.Record) { r.Ports = []plugins.PortMapping{{ContainerPort: 53, Protocol: "udp"}} }),
		shares: w.record(sharesPath, "shares"),
	}
	w.record(sharesPath, "twin", func(r *endpoint.Record) { r.Driver = "host" })
	served, path := container(t, "served")
	settings, err := w.serve(w.record(path, "served"))
	if err != nil || fmt.Sprint(settings.Nameservers, settings.Search) != "[127.0.0.11] [corp.example]" {
		t.Errorf("settings %+v, %v", settings, err)
	}
	if got := served.LookUp("127.0.0.11:53", "served", wire.TypeA); !strings.HasPrefix(got, "NOERROR") { // at once
		t.Errorf("in served: %s", got)
	}
	for c, key := range unserved {
		if _, err := w.serve(key); !errors.Is(err, names.ErrNotServed) {
			t.Errorf("serve %s: %v", c.Name, err)
		}
		if got := c.LookUp("127.0.0.11:53", "served", wire.TypeA); !strings.Contains(got, "refused") {
			t.Errorf("in %s: %s", c.Name, got)
		}
	}
	w.expectServed(1)
}

// A port that somebody else has is tried again.
func TestAPortThatIsTakenIsTakenLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, netip.AddrPort{})
	c, path := container(t, "c")
	other := c.ListenPacket("udp", "127.0.0.11:53")
	if _, err := w.serve(w.record(path, "c")); !errors.Is(err, names.ErrNotServed) {
		t.Errorf("serve beside another: %v", err)
	}
	w.expectServed(0)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	w.eventually(c, "c", "NOERROR")
	w.expectServed(1)
}

// A container that dies without a DEL leaves its record, and its path to
// another perhaps. An open socket would keep its namespace.
func TestADeadContainersResolverIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, netip.AddrPort{})
	c := w.host.NewContainer("c")
	c.Run("ip", "link", "set", "lo", "up")
	w.record(c.Path, "c")
	w.expectServed(1)
	w.host.Run("umount", "--lazy", c.Path)
	w.expectServed(0)
	// Its record is not for who has the path now.
	w.host.Run("rm", c.Path)
	if err := w.host.Do(func() error { _, err := netns.Create(c.Path); return err }); err != nil {
		t.Fatal(err)
	}
	served, path := container(t, "served")
	w.record(path, "served")
	w.eventually(served, "served", "NOERROR")
	w.expectServed(1)
}

func TestTheHostItselfMayAsk(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort("127.0.0.54:53")
	w := newWorld(t, at)
	_, path := container(t, "c")
	w.record(path, "c")
	nettest.Eventually(t, "the answer to the host", func() error {
		if got := w.host.LookUp(at.String(), "c", wire.TypeA); got != "NOERROR 10.10.0.1" {
			return errors.New(got)
		}
		return nil
	})
	second := names.New(names.Options{Store: w.store, Host: at, Log: slog.Default()})
	if err := w.host.Do(func() error { return second.Run(t.Context()) }); !errors.Is(err, dns.ErrTaken) {
		t.Errorf("a second service at %s: %v", at, err)
	}
	_ = w.end()
	if got := w.host.LookUp(at.String(), "c", wire.TypeA); !strings.Contains(got, "refused") {
		t.Errorf("after the service: %s", got)
	}
}
