package bridge_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// With br_netfilter, which is part of some kernels or loaded on a host of
// Kubernetes, packets are translated elsewhere.
func TestPublishedPortsFromEverywhere(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		for _, brNetfilter := range []string{"0", "1"} {
			t.Run("br_netfilter="+brNetfilter, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.brNetfilter(brNetfilter)
				w.reachPorts(with(backend))
			})
		}
	})
}

func (w *world) reachPorts(keys string) {
	conf := config(1, `"ipMasq":true,"hairpinMode":true,`+keys)
	c1, c2, other := w.host.NewContainer("c1"), w.host.NewContainer("c2"), w.host.NewContainer("other")
	req := request(c1, "front", conf, plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	r1 := w.add(req)
	r2 := w.add(request(c2, "front", conf))
	r3 := w.add(request(other, "back", config(2, `"ipMasq":true,`+keys)))
	serve(w.T, c1.Host, 80)
	if err := w.check(req); err != nil {
		w.Error(err)
	}
	for _, is4 := range []bool{true, false} {
		host, lan, loopback := "192.0.2.1", "192.0.2.2", "127.0.0.1"
		if !is4 {
			host, lan, loopback = "2001:db8::1", "2001:db8::2", "::1"
		}
		w.reaches(w.lan, at(host, 8080), lan)
		w.reaches(w.host, at(host, 8080), host)
		w.reaches(w.host, at(loopback, 8080), "")
		w.reaches(c1.Host, at(host, 8080), "")
		w.reaches(c2.Host, at(host, 8080), "")
		w.reaches(other.Host, at(host, 8080), address(r3, is4))
		w.reaches(c2.Host, at(address(r1, is4), 80), address(r2, is4))
		w.cannotReach(other.Host, at(address(r1, is4), 80))
		w.cannotReach(w.lan, at(address(r1, is4), 80))
	}
	w.del(req)
	w.del(req)
	w.cannotReach(w.lan, "192.0.2.1:8080")
}

func TestMasqueradeToTheOutside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serve(t, w.lan, 80)
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", config(1, `"ipMasq":true,`)))
	w.reaches(c.Host, "192.0.2.2:80", "192.0.2.1")
	w.reaches(c.Host, "[2001:db8::2]:80", "2001:db8::1")
	plain := w.host.NewContainer("c2")
	r := w.add(request(plain, "plain", config(2, "")))
	w.reaches(plain.Host, "192.0.2.2:80", address(r, true))
}

// Whoever has the port, a process or another container, is named.
func TestPortInUseIsRefusedWithWho(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, network := range []string{"tcp4", "tcp6", "udp4", "udp6"} {
		servePort(w.host, network, 9090+i)
	}
	// Two processes have one port, at addresses of their own.
	w.host.Background("busybox", "httpd", "-f", "-p", "127.0.0.1:9099")
	w.host.Listen("tcp", "192.0.2.1:9099")
	nettest.Eventually(t, "the other process listens", func() error {
		_, err := w.host.Try("sh", "-c", "ss -tln | grep -q 127.0.0.1:9099")
		return err
	})
	owner, c := w.host.NewContainer("owner"), w.host.NewContainer("c2")
	conf := config(1, "")
	var owned []plugins.PortMapping
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		owned = append(owned, plugins.PortMapping{HostPort: 8000, ContainerPort: 8000, Count: 10, Protocol: protocol})
	}
	owned = append(owned, plugins.PortMapping{HostIP: netip.MustParseAddr("2001:db8::1"), HostPort: 7000, ContainerPort: 80, Protocol: "tcp"})
	first := request(owner, "front", conf, owned...)
	first.Args.Pod.Name = "shop"
	w.add(first)
	for _, taken := range []struct {
		protocol, hostIP string
		port             uint16
		by               string
	}{
		{"tcp", "", 9090, "(bridge.test)"}, {"tcp", "", 9091, "(bridge.test)"}, {"tcp", "192.0.2.1", 9099, "(bridge.test)"}, {"tcp", "127.0.0.1", 9099, "(busybox)"}, {"udp", "", 9092, "(bridge.test)"}, {"udp", "2001:db8::1", 9093, "(bridge.test)"},
		{"tcp", "", 8009, "container owner (shop) on network front"}, {"udp", "192.0.2.1", 8000, "container owner (shop) on network front"}, {"sctp", "", 8005, "container owner (shop) on network front"},
		{"tcp", "::", 7000, "container owner (shop) on network front"}, {"tcp", "", 7000, "container owner (shop) on network front"},
	} {
		m := plugins.PortMapping{HostPort: taken.port, ContainerPort: 80, Protocol: taken.protocol}
		if taken.hostIP != "" {
			m.HostIP = netip.MustParseAddr(taken.hostIP)
		}
		if _, err := w.tryAdd(request(c, "front", conf, m)); err == nil || !strings.Contains(err.Error(), taken.by) {
			t.Errorf("%+v: %v", taken, err)
		}
	}
	// Another address and another protocol are other ports.
	w.add(request(c, "front", conf, plugins.PortMapping{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 7000, ContainerPort: 80, Protocol: "tcp"},
		plugins.PortMapping{HostPort: 7000, ContainerPort: 80, Protocol: "udp"}))
	w.del(request(owner, "front", conf))
	w.add(request(w.host.NewContainer("next"), "front", conf, owned...))
}

func TestAddAndDelLeaveNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		c := w.host.NewContainer("c1")
		req := request(c, "front", config(1, `"ipMasq":true,"macspoofchk":true,"strictPublish":true,`+with(backend)), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
		for i := range 3 {
			w.add(req)
			w.del(req)
			w.nothingLeft()
			if i == 0 {
				w.host.ExpectClean()
			}
		}
	})
}
