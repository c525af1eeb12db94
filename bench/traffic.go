package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/berth-net/berth/netns"
)

// The port contenders publish their ports with containers of manyPorts each.
const (
	manyPorts   = 1000
	portsHolder = 10
	dialsATurn  = 40
	flowTurns   = 300
)

// A client outside the host of a port contender, and the bridge by hand.
const (
	outsideClient = "; mkdir -p /run/netns; ip netns add client; ip link add wire type veth peer name eth0 netns client" +
		"; ip addr add 192.0.2.1/24 dev wire; ip link set wire up" +
		"; ip -n client addr add 192.0.2.2/24 dev eth0; ip -n client link set eth0 up"
	bridgeByHand = "; ip link add br0 type bridge; ip link set br0 up; ip addr add 10.9.0.1/16 dev br0"
)

// byHand attaches as the few lines of a shell do that make no firewall.
func (c *contender) byHand() {
	c.add = func(id int, path string) error {
		_, err := c.run(exec.Command("sh", "-ec", fmt.Sprintf(
			"ip link add v%[1]d type veth peer name eth0 netns c%[1]d; ip link set v%[1]d master br0 up"+
				"; ip -n c%[1]d addr add 10.9.0.%[2]d/16 dev eth0; ip -n c%[1]d link set lo up; ip -n c%[1]d link set eth0 up", id, id+1)))
		return err
	}
}

// connects times connections to the first port of the first container, from
// outside.
func (w *worker) connects(n int) (times []time.Duration, err error) {
	if w.listener == nil {
		if w.listener, err = serveIn("/run/netns/c1"); err != nil {
			return nil, err
		}
	}
	client, err := netns.Open("/run/netns/client")
	if err != nil {
		return nil, err
	}
	defer client.Close()
	target := net.JoinHostPort("192.0.2.1", strconv.Itoa(w.hostPort(1)))
	err = client.Do(func() error {
		for range n {
			start := time.Now()
			conn, err := net.DialTimeout("tcp4", target, 5*time.Second)
			if err != nil {
				return fmt.Errorf("%s: connect to a published port: %w", w.name, err)
			}
			times = append(times, time.Since(start))
			conn.Close()
		}
		return nil
	})
	return times, err
}

// serveIn accepts connections to port 80 in a namespace, and ends them.
func serveIn(path string) (l net.Listener, err error) {
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := ns.Do(func() error { l, err = net.Listen("tcp4", ":80"); return err }); err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(io.Discard, conn); conn.Close() }()
		}
	}()
	return l, nil
}

// throughput is the rate of one turn of TCP from the second container to the
// first, in bits a second.
func (w *worker) throughput() (float64, error) {
	if w.flow == nil {
		addr, err := addressOf("c1")
		if err != nil {
			return 0, fmt.Errorf("%s: %w", w.name, err)
		}
		if w.flow, err = newFlow("/run/netns/c2", "/run/netns/c1", addr); err != nil {
			return 0, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	rate, err := w.flow.rate(flowTurn)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	return rate, nil
}

// addressOf asks for the container's IPv4 address.
func addressOf(container string) (netip.Addr, error) {
	raw, err := exec.Command("ip", "-j", "-n", container, "-4", "addr", "show", "dev", "eth0").Output()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address of %s: %w", container, err)
	}
	var devices []struct {
		Addrs []struct{ Local netip.Addr } `json:"addr_info"`
	}
	if err := json.Unmarshal(raw, &devices); err != nil || len(devices) == 0 || len(devices[0].Addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("address of %s: none in %s", container, raw)
	}
	return devices[0].Addrs[0].Local, nil
}

// published measures connections through one published port beside 10,000.
func (r *report) published(dirs directories) error {
	hosts, stop, err := r.hosts(dirs, map[string]string{"one port": "one-port", "many ports": "many-ports"})
	if err != nil {
		return err
	}
	defer stop()
	if _, err := hosts["one port"].do(order{Warm: 1}); err != nil {
		return err
	}
	if _, err := hosts["many ports"].do(order{Warm: portsHolder}); err != nil {
		return err
	}
	return r.alternate(hosts, order{Dials: dialsATurn}, turns)
}

// Contenders of the throughput. The masquerading one is the bridge by hand with
// the one rule that every tool for containers makes. Those in bridgeCalls are
// on a host where br_netfilter hands bridged packets to the packet filter.
const (
	tcpBerth, tcpByHand                            = "berth-routed", "by-hand-routed"
	tcpCalledBerth, tcpCalledByHand, tcpCalledMasq = "berth-called", "by-hand-called", "masquerade-called"
)

const masqueradeByHand = "; nft 'add table ip hand; add chain ip hand out { type nat hook postrouting priority srcnat; }" +
	"; add rule ip hand out ip saddr 10.9.0.0/16 oifname != br0 masquerade'"

// bridgeCalls are br_netfilter's settings, which each network namespace has
// of its own; none where it is not loaded.
const bridgeCalls = "/proc/sys/net/bridge/bridge-nf-call-"

func setBridgeCalls(value string) string {
	return "; for c in " + bridgeCalls + "*; do [ ! -e $c ] || echo " + value + " >$c; done"
}

// tcp measures the throughput of a bridge beside one made by hand: where the
// bridge keeps its packets to itself, which is how a host is on which nobody
// has loaded br_netfilter, and where it does not.
func (r *report) tcp(dirs directories) error {
	names := []string{tcpBerth, tcpByHand}
	if files, _ := filepath.Glob(bridgeCalls + "*"); len(files) > 0 {
		names = append(names, tcpCalledBerth, tcpCalledByHand, tcpCalledMasq)
	}
	labels := map[string]string{}
	for _, name := range names {
		labels[name] = name
	}
	return r.compare(dirs, labels, order{Throughput: true}, flowTurns)
}
