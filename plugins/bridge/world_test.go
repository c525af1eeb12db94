package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/bridge"
	"github.com/berth-net/berth/state"
)

// world is a host with eth0 on a segment that another machine is on too.
type world struct {
	*testing.T
	host, lan *nettest.Host
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, host: nettest.NewHost(t, "host"), lan: nettest.NewHost(t, "lan")}
	nettest.Link(w.host, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, w.lan, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	w.lan.Run("ip", "route", "add", "default", "via", "192.0.2.1")
	w.lan.Run("ip", "-6", "route", "add", "default", "via", "2001:db8::1")
	return w
}

// brNetfilter has bridged packets handed to the packet filter of IP, "1", or
// kept from it, "0", which a kernel without it does anyway.
func (w *world) brNetfilter(value string) {
	w.Helper()
	out, err := w.host.Try("sysctl", "-w", "net.bridge.bridge-nf-call-iptables="+value, "net.bridge.bridge-nf-call-ip6tables="+value)
	if err != nil && value == "1" {
		w.Skipf("kernel without br_netfilter (CONFIG_BRIDGE_NETFILTER): %s", out)
	}
}

// config is a network's configuration with more keys, each with a comma
// behind it.
func config(n int, keys string) string {
	return fmt.Sprintf(`{"type":"bridge","bridge":"br%d","isDefaultGateway":true,%s"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.%d.0.0/24"}],[{"subnet":"fd10:%d::/64"}]]}}`, n, keys, n, n)
}

func request(c *nettest.Container, network, config string, ports ...plugins.PortMapping) *plugins.Request {
	return &plugins.Request{
		Network:     plugins.Network{Name: network, Type: "bridge", CNIVersion: "1.1.0", Config: []byte(config)},
		ContainerID: c.Name, NetNS: c.Path, IfName: "eth0", Owner: "test", Runtime: plugins.Runtime{PortMappings: ports},
	}
}

func on(h *nettest.Host, call func(*bridge.Driver) error) error {
	return h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		return call(bridge.New(store))
	})
}

func (w *world) tryAdd(req *plugins.Request) (r *plugins.Result, err error) {
	err = on(w.host, func(d *bridge.Driver) (err error) {
		r, err = d.Add(context.Background(), req)
		return err
	})
	return r, err
}

func (w *world) add(req *plugins.Request) *plugins.Result {
	w.Helper()
	r, err := w.tryAdd(req)
	if err != nil {
		w.Fatalf("add %s: %v", req.ContainerID, err)
	}
	return r
}

func (w *world) check(req *plugins.Request) error {
	return on(w.host, func(d *bridge.Driver) error { return d.Check(context.Background(), req) })
}

func (w *world) del(req *plugins.Request) {
	w.Helper()
	if err := on(w.host, func(d *bridge.Driver) error { return d.Del(context.Background(), req) }); err != nil {
		w.Errorf("del %s: %v", req.ContainerID, err)
	}
}

// serve answers every TCP connection to a port, of both families, with the
// client's address.
func serve(t *testing.T, h *nettest.Host, port int) {
	t.Helper()
	for network, any := range map[string]string{"tcp4": "0.0.0.0", "tcp6": "::"} {
		var l net.Listener
		if err := h.Do(func() (err error) {
			l, err = net.Listen(network, at(any, port))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go answer(l)
	}
}

func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		a := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		c.Write([]byte(a.String()))
		c.Close()
	}
}

// patience is how long a connection that should not come about is tried.
const patience = 300 * time.Millisecond

// ask connects and returns whom the server saw, or "" where nobody answered.
func ask(h *nettest.Host, address string, wait time.Duration) string {
	var seen string
	h.Do(func() error {
		d := net.Dialer{Timeout: wait}
		c, err := d.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		buf := make([]byte, 64)
		n, err := c.Read(buf)
		seen = string(buf[:n])
		return err
	})
	return seen
}

func (w *world) reaches(from *nettest.Host, address, as string) {
	w.Helper()
	if seen := ask(from, address, 3*time.Second); seen == "" || as != "" && seen != as {
		w.Errorf("%s connects to %s and is seen as %q, want %q", from.Name, address, seen, as)
	}
}

func (w *world) cannotReach(from *nettest.Host, address string) {
	w.Helper()
	if seen := ask(from, address, patience); seen != "" {
		w.Errorf("%s reaches %s (as %s), and must not", from.Name, address, seen)
	}
}

func address(r *plugins.Result, is4 bool) string {
	for _, ip := range r.IPs {
		if ip.Address.Addr().Is4() == is4 {
			return ip.Address.Addr().String()
		}
	}
	return ""
}

func at(host string, port int) string {
	return netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port)).String()
}

// nothingLeft fails when a network's devices or rules outlive it.
func (w *world) nothingLeft() {
	w.Helper()
	if out := w.host.Run("ip", "-o", "link"); strings.Contains(out, "veth") && strings.Contains(out, "br1") {
		w.Errorf("devices are left:\n%s", out)
	}
	if out := w.host.Run("nft", "list", "ruleset"); strings.Contains(out, "10.1.0.") || strings.Contains(out, "fd10:1:") {
		w.Errorf("elements are left:\n%s", out)
	}
}

// reload rebuilds the packet filter from the records.
func (w *world) reload() {
	w.Helper()
	w.onRecords(func(d *bridge.Driver, records []*endpoint.Record) error {
		all, err := d.Policies(records)
		if err != nil {
			return err
		}
		var errs []error
		for backend, list := range all {
			fw, err := firewall.Open(backend)
			if err == nil {
				err = fw.Rebuild(list)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// onRecords calls with the driver of the host and all that it has on record.
func (w *world) onRecords(call func(d *bridge.Driver, records []*endpoint.Record) error) {
	w.Helper()
	if err := w.host.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		records, err := attach.Records(store, "")
		if err != nil {
			return err
		}
		return call(bridge.New(store), records)
	}); err != nil {
		w.Fatal(err)
	}
}
