package macvlan_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

func TestWhoChoosesTheMAC(t *testing.T) {
	t.Parallel()
	const configured, argued, runtime = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
	hw := func(s string) net.HardwareAddr { mac, _ := net.ParseMAC(s); return mac }
	for name, c := range map[string]struct {
		ask  func(*plugins.Request)
		want string
	}{
		"configuration": {func(*plugins.Request) {}, configured},
		"args":          {func(r *plugins.Request) { r.Args.MAC = hw(argued) }, argued},
		"runtimeConfig": {func(r *plugins.Request) { r.Args.MAC, r.Runtime.MAC = hw(argued), hw(runtime) }, runtime},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, mode := range []string{"bridge", "passthru"} {
				container := w.host.NewContainer(mode)
				req := request(container, with(with(layer2, "mac", `"`+configured+`"`), "mode", `"`+mode+`"`))
				c.ask(req)
				r := w.add(req)
				if got := container.Run("ip", "link", "show", "eth0"); !strings.Contains(got, c.want) || r.Interfaces[0].MAC.String() != c.want {
					t.Errorf("%s: result %s, and\n%s; want %s", mode, r.Interfaces[0].MAC, got, c.want)
				}
				if err := del(w.host, req); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestTheMACIsTheSameWhenAContainerStartsAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	first := w.add(request(c, dual)).Interfaces[0].MAC.String()
	if err := del(w.host, request(c, dual)); err != nil {
		t.Fatal(err)
	}
	if again := w.add(request(c, dual)).Interfaces[0].MAC.String(); again != first {
		t.Errorf("%s, and then %s", first, again)
	}
}

// A namespace ends in the background, and until then its device has the MAC
// (containers/netavark#1308).
func TestAddWaitsForTheOldNamespaceToGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mac := with(layer2, "mac", `"02:00:00:00:00:01"`)
	w.host.Run("ip", "link", "add", "dying", "link", "eth0", "address", "02:00:00:00:00:01", "type", "macvlan", "mode", "bridge")
	w.host.Run("ip", "link", "set", "dying", "up")
	done := make(chan error, 1)
	c := w.host.NewContainer("c1")
	go func() {
		_, err := tryAdd(w.host, request(c, mac))
		done <- err
	}()
	nettest.Eventually(t, "the device is made", func() error {
		_, err := c.Try("ip", "link", "show", "eth0")
		return err
	})
	w.host.Run("ip", "link", "del", "dying")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAMACThatALivingContainerHasIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mac := with(layer2, "mac", `"02:00:00:00:00:01"`)
	w.add(request(w.host.NewContainer("c1"), mac))
	_, err := tryAdd(w.host, request(w.host.NewContainer("c2"), mac))
	wantError(t, err, plugins.CodeInvalidConfig, "02:00:00:00:00:01", "lan/c1/eth0")
}

// CVE-2024-32473: IPv6 was on in containers of IPv4-only macvlan networks.
func TestCVE_2024_32473_NoIPv6WhereNoneWasAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c4, c6 := w.host.NewContainer("c4"), w.host.NewContainer("c6")
	w.add(request(c4, ipv4Only))
	w.add(request(c6, dual))
	if got := c4.Run("ip", "-6", "address", "show", "dev", "eth0"); got != "" {
		t.Errorf("an IPv4 container has\n%s", got)
	}
	if got := c6.Run("ip", "-6", "address", "show", "dev", "eth0"); !strings.Contains(got, "fe80::") {
		t.Errorf("a container with IPv6 lacks its link-local address:\n%s", got)
	}
}

// CVE-2020-10749: a container that believes router advertisements sends its
// traffic to whoever speaks them.
func TestCVE_2020_10749_RouterAdvertisementsAreNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	w.add(request(c, dual))
	bad := netip.MustParsePrefix("2001:db8:bad::/64")
	nettest.Eventually(t, "a host that believes it has heard it", func() error {
		w.outside.AdvertiseRouter("eth0", bad)
		_, err := w.router.Try("sh", "-c", "ip -6 route | grep "+bad.Addr().String())
		return err
	})
	if got := c.Run("ip", "-6", "route"); strings.Contains(got, "proto ra") || strings.Contains(got, bad.Addr().String()) {
		t.Errorf("the container believes it:\n%s", got)
	}
}

func TestMTUAndQueueLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	r := w.add(request(c, with(with(layer2, "mtu", "1400"), "bcqueuelen", "2000")))
	got := c.Run("ip", "-d", "link", "show", "eth0")
	if !strings.Contains(got, "mtu 1400") || !strings.Contains(got, "bcqueuelen 2000") || r.Interfaces[0].MTU != 1400 {
		t.Errorf("result %+v, and\n%s", r.Interfaces[0], got)
	}
}

func TestTheNeighboursOfAReusedAddressAreCorrected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, addr := range []string{"192.0.2.100", "2001:db8::100"} {
		w.outside.Run("ip", "neighbour", "replace", addr, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale")
	}
	nettest.Eventually(t, "the segment carries multicast", func() error {
		_, err := w.outside.Try("sh", "-c", "ip -6 route show table all | grep -q ff00::/8")
		return err
	})
	r := w.add(request(w.host.NewContainer("c1"), dual))
	for i, addr := range []string{"192.0.2.100", "2001:db8::100"} {
		if got := r.IPs[i].Address.Addr().String(); got != addr {
			t.Fatalf("leased %s, not %s", got, addr)
		}
		nettest.Eventually(t, addr+" is known anew", func() error {
			_, err := w.outside.Try("sh", "-c", "ip neighbour show "+addr+" | grep "+r.Interfaces[0].MAC.String())
			return err
		})
	}
}

// Without a gateway nothing but the announcements tells the segment.
func TestAnAddIsAnnouncedThreeTimes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	heard := w.outside.Sniff("eth0")
	c := request(w.host.NewContainer("c1"), `{"type":"macvlan","master":"eth0","ipam":{"type":"berth-ipam","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100"}],[{"subnet":"2001:db8::/64","rangeStart":"2001:db8::100"}]]}}`)
	r := w.add(c)
	arp := bytes.Join([][]byte{{0, 1, 8, 0, 6, 4, 0, 1}, r.Interfaces[0].MAC, r.IPs[0].Address.Addr().AsSlice(), make([]byte, 6), r.IPs[0].Address.Addr().AsSlice()}, nil)
	na := append([]byte{0x20, 0, 0, 0}, r.IPs[1].Address.Addr().AsSlice()...) // the override flag, and the target
	nettest.Eventually(t, "three of each", func() error {
		arps, nas := 0, 0
		for _, f := range heard.Frames() {
			switch {
			case f.EtherType() == 0x0806 && bytes.HasPrefix(f.Payload(), arp):
				arps++
			case f.EtherType() == 0x86dd && f.Payload()[6] == 58 && f.Payload()[40] == 136 && bytes.HasPrefix(f.Payload()[44:], na):
				nas++
			}
		}
		if arps != 3 || nas != 3 {
			return fmt.Errorf("%d gratuitous ARP requests, %d unsolicited neighbour advertisements", arps, nas)
		}
		return nil
	})
}
