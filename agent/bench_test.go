package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
)

func medianOf[T float64 | time.Duration](of []T) T {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// aTurn is short, so that the contenders are measured at the same time, with
// both ends on one processor and buffers of a fixed size: else how fast one
// processor wakes the other, and what sizes the kernel finds, vary by more than
// what is measured.
var aTurn = []string{"-n", "256M", "-A", "0,0", "-w", "256K"}

// BenchmarkThroughput is TCP between containers of two hosts, by the overlay
// and by a VXLAN made by hand on the same hosts, in turns.
func BenchmarkThroughput(b *testing.B) {
	w := newWorld(b, 2)
	server, client := w.add(w.hosts[0], "server"), w.add(w.hosts[1], "client")
	byHandServer, byHandClient := byHand(w.hosts[0], 1, 2), byHand(w.hosts[1], 2, 1)
	var ours, ratios []float64
	for b.Loop() {
		rates := []float64{
			rate(b, server.Container, client.Container, server.ips[0].String(), aTurn...),
			rate(b, byHandServer, byHandClient, "10.77.0.1", aTurn...),
		}
		ours, ratios = append(ours, rates[0]), append(ratios, rates[0]/rates[1])
	}
	b.ReportMetric(medianOf(ratios), "ratio")
	b.ReportMetric(medianOf(ours)/1e9, "Gbit/s")
}

// BenchmarkEncryptedThroughput is a second of it by an encrypted network and by one
// in clear text of the same hosts.
func BenchmarkEncryptedThroughput(b *testing.B) {
	w := newWorld(b, 2)
	server, client := w.addTo(w.hosts[0], "server", "front", secret), w.addTo(w.hosts[1], "client", "front", secret)
	clearServer, clearClient := w.addTo(w.hosts[0], "clear1", "other", other), w.addTo(w.hosts[1], "clear2", "other", other)
	var encrypted, inClear []float64
	for b.Loop() {
		encrypted = append(encrypted, rate(b, server.Container, client.Container, server.ips[0].String(), "-t", "1"))
		inClear = append(inClear, rate(b, clearServer.Container, clearClient.Container, clearServer.ips[0].String(), "-t", "1"))
	}
	s, err := w.status(w.hosts[0])
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("WireGuard of the %s", s.Mesh.Implementation)
	b.ReportMetric(medianOf(encrypted)/medianOf(inClear), "ratio")
	b.ReportMetric(medianOf(encrypted)/1e9, "Gbit/s")
}

// byHand attaches a container as the few lines of a shell do.
func byHand(h *nettest.Host, self, peer int) *nettest.Container {
	c := h.NewContainer(fmt.Sprintf("hand%d", self))
	nettest.Link(h, "hv0", nil, c.Host, "eth0", []string{fmt.Sprintf("10.77.0.%d/24", self)})
	for _, args := range [][]string{
		{"link", "add", "hbr0", "type", "bridge"},
		{"link", "add", "hvx0", "type", "vxlan", "id", "77", "dstport", "4790", "local", fmt.Sprintf("192.0.2.%d", self), "remote", fmt.Sprintf("192.0.2.%d", peer)},
		{"link", "set", "hvx0", "mtu", "1450", "master", "hbr0", "up"},
		{"link", "set", "hv0", "mtu", "1450", "master", "hbr0", "up"},
		{"link", "set", "hbr0", "up"},
	} {
		h.Run("ip", args...)
	}
	c.Run("ip", "link", "set", "eth0", "mtu", "1450", "up")
	return c
}

// rate is what iperf3 counts, in bits a second.
func rate(b *testing.B, server, client *nettest.Container, addr string, options ...string) (bits float64) {
	b.Helper()
	s := server.Background("iperf3", "-s", "-1")
	defer s.Kill()
	nettest.Eventually(b, "iperf3 to "+addr, func() error {
		out, err := client.Try("iperf3", append(options, "-c", addr, "-J")...)
		var report struct {
			End struct {
				Received struct {
					Rate float64 `json:"bits_per_second"`
				} `json:"sum_received"`
			}
		}
		if err == nil {
			err = json.Unmarshal([]byte(out), &report)
		}
		if bits = report.End.Received.Rate; err == nil && bits == 0 {
			err = fmt.Errorf("no rate in %.300s", out)
		}
		return err
	})
	return bits
}

const bridgeConf = `{"type":"bridge","bridge":"br0","isGateway":true,"ipMasq":true,"ipam":{"type":"berth-ipam","ranges":[
	[{"subnet":"10.43.0.0/24"}],[{"subnet":"fd43::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}`

// BenchmarkAdd is an ADD by the plugins' binary on a host that has a container
// on each network already: of the overlay and of a bridge, in turns.
func BenchmarkAdd(b *testing.B) {
	w := newWorld(b, 2)
	plugin := buildPlugin(b)
	confs := map[string]string{"overlay": front, "bridge": bridgeConf}
	call := func(verb, driver string, c *nettest.Container) time.Duration {
		cmd := pluginCall(b, w.hosts[0], plugin, verb, driver, "on-"+driver, confs[driver], c)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		begin := time.Now()
		if err := w.hosts[0].Do(cmd.Run); err != nil {
			b.Fatalf("%s %s: %v\n%s", verb, driver, err, out.String())
		}
		return time.Since(begin)
	}
	took := map[string][]time.Duration{}
	for driver := range confs {
		call("ADD", driver, w.hosts[0].NewContainer("first-"+driver))
	}
	for i := 0; b.Loop(); i++ {
		for driver := range confs {
			c := w.hosts[0].NewContainer(fmt.Sprintf("%s%d", driver, i))
			took[driver] = append(took[driver], call("ADD", driver, c))
			call("DEL", driver, c)
		}
	}
	b.ReportMetric(medianOf(took["overlay"]).Seconds()/medianOf(took["bridge"]).Seconds(), "ratio")
	b.ReportMetric(medianOf(took["overlay"]).Seconds()*1000, "overlay-ms")
	b.ReportMetric(medianOf(took["bridge"]).Seconds()*1000, "bridge-ms")
}
