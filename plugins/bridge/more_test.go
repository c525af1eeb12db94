package bridge_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
)

// GC leaves of every resource (devices, rules, leases, records, host ports)
// exactly what the valid attachment had alone.
func TestGCRemovesExactlyWhatIsNotValid(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		conf := config(1, `"ipMasq":true,"macspoofchk":true,"strictPublish":true,`+with(backend))
		var reqs []*plugins.Request
		for i := range 3 {
			m := plugins.PortMapping{HostPort: uint16(8080 + i), ContainerPort: 80, Protocol: "tcp"}
			reqs = append(reqs, request(w.host.NewContainer(fmt.Sprintf("c%d", i)), "front", conf, m))
		}
		w.add(reqs[1])
		w.host.ExpectClean() // of c0 and c2 nothing is left in the end
		w.add(reqs[0])
		w.add(reqs[2])
		gc := func(valid ...plugins.Attachment) {
			t.Helper()
			if err := on(w.host, func(d *bridge.Driver) error {
				return d.GC(context.Background(), &plugins.GCRequest{Network: reqs[0].Network, Valid: valid})
			}); err != nil {
				t.Fatal(err)
			}
		}
		gc(plugins.Attachment{ContainerID: "c1", IfName: "eth0"})
		if err := w.check(reqs[1]); err != nil {
			t.Errorf("GC touched the valid attachment: %v", err)
		}
		for _, i := range []int{0, 2} { // their ports are free
			w.add(reqs[i])
			w.del(reqs[i])
		}
	})
}

func TestBandwidth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	req := request(c, "front", config(1, ""))
	req.Runtime.Bandwidth = &plugins.Bandwidth{IngressRate: 8_000_000, IngressBurst: 800_000, EgressRate: 4_000_000, EgressBurst: 400_000}
	r := w.add(req)
	if out := w.host.Run("tc", "qdisc", "show", "dev", r.Interfaces[1].Name); !strings.Contains(out, "tbf") || !strings.Contains(out, "rate 8Mbit") {
		t.Errorf("towards the container:\n%s", out)
	}
	if out := c.Run("tc", "qdisc", "show", "dev", "eth0"); !strings.Contains(out, "tbf") || !strings.Contains(out, "rate 4Mbit") {
		t.Errorf("from the container:\n%s", out)
	}
	// Half a second's worth more than the burst, each way. What is slower than
	// the limit says nothing of it.
	gateway := r.IPs[0].Gateway.String()
	if took := transfer(t, w.host, c.Host, r.IPs[0].Address.Addr().String(), 600_000); took < 300*time.Millisecond {
		t.Errorf("towards the container 600 kB went in %s, which is not 8 Mbit/s", took)
	}
	if took := transfer(t, c.Host, w.host, gateway, 300_000); took < 300*time.Millisecond {
		t.Errorf("from the container 300 kB went in %s, which is not 4 Mbit/s", took)
	}
}

// transfer is how long so many bytes take from one host to another's address.
func transfer(t *testing.T, from, to *nettest.Host, address string, size int64) time.Duration {
	t.Helper()
	l := to.Listen("tcp", net.JoinHostPort(address, "0"))
	conn, err := from.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	go func() {
		defer conn.Close()
		_, _ = conn.Write(make([]byte, size))
	}()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	in.SetDeadline(begin.Add(30 * time.Second))
	if n, err := io.Copy(io.Discard, in); err != nil || n != size {
		t.Fatalf("of %d bytes %d came: %v", size, n, err)
	}
	return time.Since(begin)
}

// moby#8795: a client that goes on sending reaches the port's new owner.
func TestUDPFlowsFollowTheirPort(t *testing.T) {
	nettest.RequireKernel(t)
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		m := plugins.PortMapping{HostPort: 5000, ContainerPort: 53, Protocol: "udp"}
		conf := config(1, `"ipMasq":true,`+with(backend))
		client, err := w.lan.Dial(t.Context(), "udp", "192.0.2.1:5000")
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.Write([]byte("before")) // a flow to the host itself, to nobody
		for _, name := range []string{"one", "two"} {
			c := w.host.NewContainer(name)
			answerUDP(t, c.Host, name)
			req := request(c, "front", conf, m)
			w.add(req)
			nettest.Eventually(t, "the flow reaches container "+name, func() error {
				client.SetDeadline(time.Now().Add(200 * time.Millisecond))
				client.Write([]byte("hello"))
				buf := make([]byte, 16)
				if n, err := client.Read(buf); err != nil || string(buf[:n]) != name {
					return fmt.Errorf("answer %q, %v", buf[:n], err)
				}
				return nil
			})
			w.del(req)
		}
	})
}

// moby#53384: flows are forgotten by host address, host port and protocol,
// and no others are.
func TestOtherFlowsAreNotForgotten(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t)
	w := newWorld(t)
	if _, err := w.host.Try("cat", "/proc/net/nf_conntrack"); err != nil {
		t.Skip("kernel without /proc/net/nf_conntrack (CONFIG_NF_CONNTRACK_PROCFS)")
	}
	w.host.Run("ip", "address", "add", "192.0.2.9/24", "dev", "eth0")
	var reqs []*plugins.Request
	for i, m := range []plugins.PortMapping{
		{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 5000, ContainerPort: 53, Protocol: "udp"},
		{HostIP: netip.MustParseAddr("192.0.2.9"), HostPort: 5000, ContainerPort: 53, Protocol: "udp"},
		{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 5001, ContainerPort: 53, Protocol: "udp"},
	} {
		c := w.host.NewContainer(fmt.Sprintf("c%d", i))
		servePort(c.Host, "udp4", 53)
		reqs = append(reqs, request(c, "front", config(1, ""), m))
		w.add(reqs[i])
		if _, err := w.lan.TryAsk("udp4", at(m.HostIP.String(), int(m.HostPort))); err != nil {
			t.Fatal(err)
		}
	}
	flows := func() string {
		var list []string
		for line := range strings.Lines(w.host.Run("cat", "/proc/net/nf_conntrack")) {
			for _, dst := range []string{"192.0.2.1 ", "192.0.2.9 "} {
				for _, port := range []string{"5000 ", "5001 "} {
					if strings.Contains(line, "src=192.0.2.2 dst="+dst) && strings.Contains(line, "dport="+port) {
						list = append(list, dst+port)
					}
				}
			}
		}
		slices.Sort(list)
		return strings.Join(list, "")
	}
	if got := flows(); got != "192.0.2.1 5000 192.0.2.1 5001 192.0.2.9 5000 " {
		t.Fatalf("flows %q", got)
	}
	w.del(reqs[0])
	if got := flows(); got != "192.0.2.1 5001 192.0.2.9 5000 " {
		t.Errorf("after DEL of 192.0.2.1:5000/udp the flows are %q", got)
	}
}

func answerUDP(t *testing.T, h *nettest.Host, name string) {
	t.Helper()
	var pc net.PacketConn
	if err := h.Do(func() (err error) {
		pc, err = net.ListenPacket("udp4", "0.0.0.0:53")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 16)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo([]byte(name), from)
		}
	}()
}
