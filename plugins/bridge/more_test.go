package bridge_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
)

func TestGCRemovesExactlyWhatIsNotValid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conf := config(1, `"ipMasq":true,`)
	var reqs []*plugins.Request
	for i := range 3 {
		m := plugins.PortMapping{HostPort: uint16(8080 + i), ContainerPort: 80, Protocol: "tcp"}
		reqs = append(reqs, request(w.host.NewContainer(fmt.Sprintf("c%d", i)), "front", conf, m))
		w.add(reqs[i])
	}
	err := on(w.host, func(d *bridge.Driver) error {
		return d.GC(context.Background(), &plugins.GCRequest{Network: reqs[0].Network, Valid: []plugins.Attachment{{ContainerID: "c1", IfName: "eth0"}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.check(reqs[1]); err != nil {
		t.Errorf("GC touched the valid attachment: %v", err)
	}
	rules, links := w.host.Run("nft", "list", "ruleset"), w.host.Run("bridge", "link")
	if strings.Contains(rules, "8080") || strings.Contains(rules, "8082") || strings.Count(links, "veth") != 1 {
		t.Errorf("GC left:\n%s\n%s", rules, links)
	}
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
}

// moby#8795: a client that goes on sending reaches the port's new owner.
func TestUDPFlowsFollowTheirPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := plugins.PortMapping{HostPort: 5000, ContainerPort: 53, Protocol: "udp"}
	conf := config(1, `"ipMasq":true,`)
	var client net.Conn
	if err := w.lan.Do(func() (err error) {
		client, err = net.Dial("udp", "192.0.2.1:5000")
		return err
	}); err != nil {
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
