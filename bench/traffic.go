package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"time"

	"github.com/berth-net/berth/netns"
)

// The port contenders publish their ports with containers of manyPorts each.
const (
	manyPorts   = 1000
	portsHolder = 10
	dialsATurn  = 40
	iperfTurns  = 20
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

// throughput is the rate of one second of TCP from the second container to
// the first, in bits a second.
func (w *worker) throughput() (float64, error) {
	in := func(ns string, args ...string) *exec.Cmd {
		return exec.Command("nsenter", append([]string{"--net=/run/netns/" + ns, "iperf3"}, args...)...)
	}
	raw, err := exec.Command("ip", "-j", "-n", "c1", "-4", "addr", "show", "dev", "eth0").Output()
	if err != nil {
		return 0, fmt.Errorf("%s: address of the server: %w", w.name, err)
	}
	var devices []struct {
		Addrs []struct{ Local string } `json:"addr_info"`
	}
	if err := json.Unmarshal(raw, &devices); err != nil || len(devices) == 0 || len(devices[0].Addrs) == 0 {
		return 0, fmt.Errorf("%s: no address in %s", w.name, raw)
	}
	server := in("c1", "-s", "-1")
	if err := server.Start(); err != nil {
		return 0, err
	}
	defer server.Wait()
	defer server.Process.Kill()
	for range 100 { // until it listens
		// With -J a refused connection is no error of the command's.
		var out []byte
		if out, err = in("c2", "-c", devices[0].Addrs[0].Local, "-t", "1", "-J").Output(); err == nil {
			var rate float64
			if rate, err = received(out); err == nil {
				return rate, nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 0, fmt.Errorf("%s: iperf3: %w", w.name, err)
}

// received is the rate in iperf3's report.
func received(report []byte) (float64, error) {
	var result struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(report, &result); err != nil {
		return 0, fmt.Errorf("read iperf3's report: %w", err)
	}
	if result.End.Received.Rate == 0 {
		return 0, fmt.Errorf("iperf3 reports no rate: %s", report)
	}
	return result.End.Received.Rate, nil
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

// tcp measures the throughput of a bridge beside one made by hand.
func (r *report) tcp(dirs directories) error {
	return r.compare(dirs, map[string]string{"tcp": "berth", "tcp by hand": "by-hand"}, order{Throughput: true}, iperfTurns)
}
