package cluster

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// server is an etcd on a host of its own.
type server struct {
	testing.TB
	host *nettest.Host
	etcd *clientv3.Client // of nobody in particular
}

const serverAddress = "127.0.0.1:2379"

func newServer(t *testing.T) *server {
	t.Helper()
	t.Parallel()
	if _, err := exec.LookPath("etcd"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("etcd is not installed (Debian: etcd-server)")
		}
		t.Skip("etcd is not installed (Debian: etcd-server)")
	}
	s := &server{TB: t, host: nettest.NewHost(t, "etcd")}
	s.host.Background("etcd", "--data-dir", "/var/lib/etcd-test", "--listen-client-urls", "http://"+serverAddress,
		"--advertise-client-urls", "http://"+serverAddress, "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level", "error", "--heartbeat-interval", "10", "--election-timeout", "100")
	nettest.Eventually(t, "etcd to listen", func() error {
		conn, err := s.host.Dial(t.Context(), "tcp", serverAddress)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	s.etcd = s.client("nobody").etcd
	return s
}

// client is that of a host, which does not run: it knows what it has loaded,
// and what others write afterwards it does not.
func (s *server) client(name string) *Client {
	s.Helper()
	return s.clientBy(name, s.host.Dial)
}

// clientBy is one that connects in its own way.
func (s *server) clientBy(name string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	s.Helper()
	c, err := Open(Options{
		Servers: []string{"http://" + serverAddress}, TTL: time.Minute, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		OnChange: func(Change) {}, Dial: dial,
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	if err := c.SetHost(Host{Name: name, Instance: "of " + name, Address: netip.MustParseAddr("192.0.2.1")}); err != nil {
		s.Fatal(err)
	}
	return c
}

// loaded is a client that has read what etcd has now.
func (s *server) loaded(name string) *Client {
	s.Helper()
	c := s.client(name)
	s.load(c)
	return c
}

func (s *server) load(c *Client) {
	s.Helper()
	if _, err := c.load(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// run lets a client follow and publish, until the function that it returns is
// called or the test ends. Its lease stays.
func (s *server) run(c *Client) (stop func()) {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	s.Cleanup(stop)
	<-c.Synced()
	return stop
}

// put writes keys and their values.
func (s *server) put(pairs ...string) {
	s.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if _, err := s.etcd.Put(s.Context(), pairs[i], pairs[i+1]); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *server) drop(keys ...string) {
	s.Helper()
	for _, k := range keys {
		if _, err := s.etcd.Delete(s.Context(), k); err != nil {
			s.Fatal(err)
		}
	}
}

// wipe has etcd lose what it knows.
func (s *server) wipe() {
	s.Helper()
	if _, err := s.etcd.Delete(s.Context(), "/berth/", clientv3.WithPrefix()); err != nil {
		s.Fatal(err)
	}
}

// keys are those below Root, with their values.
func (s *server) keys() map[string]string {
	s.Helper()
	got, err := s.etcd.Get(s.Context(), Root, clientv3.WithPrefix())
	if err != nil {
		s.Fatal(err)
	}
	keys := map[string]string{}
	for _, kv := range got.Kvs {
		keys[string(kv.Key)] = string(kv.Value)
	}
	return keys
}

// expect compares etcd's keys below Root.
func (s *server) expect(want map[string]string) {
	s.Helper()
	if have := s.keys(); !maps.Equal(have, want) {
		s.Errorf("etcd has\n%q\nwant\n%q", have, want)
	}
}

func (s *server) revision() int64 {
	s.Helper()
	got, err := s.etcd.Get(s.Context(), schemaKey)
	if err != nil {
		s.Fatal(err)
	}
	return got.Header.Revision
}

// value is what a key holds; empty: there is none.
func (s *server) value(k string) string { return s.keys()[k] }

// network makes a network of four blocks of four addresses.
func (s *server) network(name string, vni uint32) {
	s.Helper()
	n := &Network{Name: name, VNI: vni, Config: json.RawMessage(`{}`)}
	if _, err := s.client("maker").tryCreate(s.Context(), n); err != nil {
		s.Fatal(err)
	}
}

var tiny = ipam.RangeSet{{
	Subnet: netip.MustParsePrefix("10.46.0.0/28"), Start: netip.MustParseAddr("10.46.0.1"), End: netip.MustParseAddr("10.46.0.14"),
}}

// tinyBlock is the key of a block of network front.
func tinyBlock(first string) string {
	return blockKey("front", netip.PrefixFrom(netip.MustParseAddr(first), 30))
}

func of(host string) string { return owner{host}.text() }
