package bridge_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

const ip4Config = `{"type":"bridge","bridge":"br1","isDefaultGateway":true,"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.1.0.0/29"}]]}}`

// The next holder of an address has its MAC too, so that the neighbours need
// not be told: an announcement interrupts every container on the bridge.
func TestAnAddressKeepsItsMACAndNobodyIsInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.host.NewContainer("first")
	w.add(request(first, "front", ip4Config))
	heard := first.Sniff("eth0")
	macs := make(map[string]string)
	for i := range 10 { // /29 has five addresses for containers
		req := request(w.host.NewContainer(fmt.Sprintf("c%d", i)), "front", ip4Config)
		r := w.add(req)
		ip, mac := r.IPs[0].Address.String(), r.Interfaces[2].MAC.String()
		if known := macs[ip]; known != "" && known != mac {
			t.Errorf("%s had MAC %s, and now %s", ip, known, mac)
		}
		macs[ip] = mac
		w.knows(r.IPs[0].Address.Addr().String(), mac)
		w.del(req)
	}
	if len(macs) == 10 {
		t.Error("no address was given twice")
	}
	for _, f := range heard.Frames() {
		if bytes.HasPrefix(f, net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
			t.Errorf("a container heard of another's start: %s", f)
		}
	}
}

// Whoever comes after a MAC that was asked for is announced.
func TestAnnouncedWhereAMACWasAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.host.NewContainer("first")
	w.add(request(first, "front", ip4Config))
	odd := request(w.host.NewContainer("odd"), "front", ip4Config)
	odd.Args.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	r := w.add(odd)
	ip := r.IPs[0].Address.Addr().String()
	first.Ping(ip)
	w.learns(first.Host, ip, odd.Args.MAC.String())
	w.del(odd)
	for i := range 5 {
		req := request(w.host.NewContainer(fmt.Sprintf("c%d", i)), "front", ip4Config)
		r := w.add(req)
		if got := r.IPs[0].Address.Addr().String(); got == ip {
			w.learns(first.Host, ip, r.Interfaces[2].MAC.String())
			w.knows(ip, r.Interfaces[2].MAC.String())
			return
		}
		w.del(req)
	}
	t.Error("the address was not given again")
}

// knows waits until the host has the container's MAC without having asked.
func (w *world) knows(ip, mac string) {
	w.Helper()
	w.learns(w.host, ip, mac)
}

func (w *world) learns(h *nettest.Host, ip, mac string) {
	w.Helper()
	nettest.Eventually(w, h.Name+" knows "+ip, func() error {
		if out := h.Run("ip", "neighbour", "show", ip); !strings.Contains(out, mac) {
			return errors.New(out)
		}
		return nil
	})
}
