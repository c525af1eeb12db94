package nettest_test

import (
	"testing"

	"github.com/berth-net/berth/nettest"
)

// The example of README.md, word for word; TestTheREADMEShowsThisExample
// holds them together.
//
// begin README
func TestRouterForwards(t *testing.T) {
	t.Parallel()
	client, router, server := nettest.NewHost(t, "client"), nettest.NewHost(t, "router"), nettest.NewHost(t, "server")
	nettest.Link(client, "eth0", []string{"192.0.2.10/24"}, router, "eth0", []string{"192.0.2.1/24"})
	nettest.Link(server, "eth0", []string{"198.51.100.10/24"}, router, "eth1", []string{"198.51.100.1/24"})
	client.Run("ip", "route", "add", "default", "via", "192.0.2.1")
	server.Run("ip", "route", "add", "default", "via", "198.51.100.1")
	router.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

	server.Serve("tcp", "198.51.100.10:80")
	if answer := client.Ask("tcp", "198.51.100.10:80"); answer.Client.Addr().String() != "192.0.2.10" {
		t.Errorf("the server saw %s: somebody translates", answer.Client)
	}

	uplink := router.Sniff("eth1")
	client.Ping("192.0.2.1")
	for _, frame := range uplink.Frames() {
		if _, _, protocol, _ := frame.IP(); protocol == 1 {
			t.Errorf("a ping of the router left it: %s", frame)
		}
	}
}

// end README

func BenchmarkNewHost(b *testing.B) {
	for b.Loop() {
		nettest.NewHost(b, "h")
	}
}
