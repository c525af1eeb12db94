package macvlan_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// These tests need what the kernel may have been built without.

func TestAVLANParentCarriesItsTagOnly(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.VLANDevices)
	w := newWorld(t)
	w.host.ExpectClean()
	w.outside.Run("ip", "link", "add", "link", "eth0", "name", "eth0.10", "up", "type", "vlan", "id", "10")
	w.outside.Run("ip", "address", "add", "198.18.0.1/24", "dev", "eth0.10")
	config := func(master string) string {
		return `{"type":"macvlan","master":"` + master + `","ipam":{"type":"berth-ipam","ranges":[[{"subnet":"198.18.0.0/24","rangeStart":"198.18.0.100"}]]}}`
	}
	c1, c2, c11 := w.host.NewContainer("c1"), w.host.NewContainer("c2"), w.host.NewContainer("c11")
	first, second := request(c1, config("eth0.10")), request(c2, config("eth0.10"))
	other := request(c11, config("eth0.11"))
	second.Name, other.Name = "lan2", "lan11" // networks share a parent
	second.Config = []byte(strings.Replace(string(second.Config), "0.100", "0.200", 1))
	for _, req := range []*plugins.Request{first, second, other} {
		w.add(req)
		if err := check(w.host, req); err != nil {
			t.Error(err)
		}
	}
	if out := w.host.Run("ip", "-d", "link", "show", "eth0.10"); !strings.Contains(out, "vlan protocol 802.1Q id 10") {
		t.Errorf("the parent:\n%s", out)
	}
	for _, c := range []*nettest.Container{c1, c2} {
		c.Ping("198.18.0.1")
	}
	if err := c11.TryPing("198.18.0.1"); err == nil {
		t.Error("VLAN 11 reaches VLAN 10")
	}
	for _, step := range []struct {
		gone *plugins.Request
		left string
	}{{other, "eth0.10"}, {first, "eth0.10"}, {second, ""}} {
		if err := del(w.host, step.gone); err != nil {
			t.Error(err)
		}
		if got := w.host.Links(); strings.Contains(got, "eth0.11") || strings.Contains(got, "eth0.10") != (step.left != "") {
			t.Errorf("after DEL of %s, want %q:\n%s", step.gone.ContainerID, step.left, got)
		}
	}
}

func TestAVLANOfTheAdministratorStays(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.VLANDevices)
	w := newWorld(t)
	w.host.Run("ip", "link", "add", "link", "eth0", "name", "eth0.10", "up", "type", "vlan", "id", "10")
	req := request(w.host.NewContainer("c1"), master(layer2, "eth0.10"))
	w.add(req)
	if err := del(w.host, req); err != nil {
		t.Fatal(err)
	}
	w.host.Run("ip", "link", "show", "eth0.10")
}

func TestAnInternalNetworkStandsOnADummy(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.DummyDevices)
	w := newWorld(t)
	w.host.ExpectClean()
	c1, c2 := w.host.NewContainer("c1"), w.host.NewContainer("c2")
	first, second := request(c1, internal), request(c2, internal)
	r := w.add(first)
	w.add(second)
	parents := w.host.Run("ip", "-d", "-o", "link", "show", "type", "dummy")
	if strings.Count(parents, "bmi") != 1 {
		t.Errorf("dummy devices:\n%s", parents)
	}
	c2.Ping(r.IPs[0].Address.Addr().String())
	if err := c2.TryPing("192.0.2.1"); err == nil {
		t.Error("an internal container reaches the router")
	}
	for _, req := range []*plugins.Request{first, second} {
		if err := del(w.host, req); err != nil {
			t.Error(err)
		}
	}
}

func TestAParentWithIPVlanDevicesIsRefused(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.IPVlanDevices)
	w := newWorld(t)
	w.host.Run("ip", "link", "add", "link", "eth0", "name", "ipvl0", "type", "ipvlan", "mode", "l2")
	req := request(w.host.NewContainer("c1"), layer2)
	_, err := tryAdd(w.host, req)
	wantError(t, err, plugins.CodeInvalidConfig, "master eth0", "ipvlan", "cannot share a parent")
	if !errors.Is(err, unix.EBUSY) {
		t.Errorf("%v is not EBUSY", err)
	}
	w.hasNoRecord(req)
	w.host.Run("ip", "link", "delete", "ipvl0")
	w.add(req)
}

func TestARealWirelessParentIsRefused(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.SimulatedWifi)
	w := newWorld(t)
	newRadio(t, w.host)
	req := request(w.host.NewContainer("c1"), master(layer2, "wlan0"))
	_, err := tryAdd(w.host, req)
	wantError(t, err, plugins.CodeInvalidConfig, "wlan0", "wireless", "access point")
	w.hasNoRecord(req)
}

// newRadio gives the host a simulated wireless device, wlan0, by
// HWSIM_CMD_NEW_RADIO of drivers/net/wireless/mac80211_hwsim.h.
func newRadio(t *testing.T, h *nettest.Host) {
	t.Helper()
	const newRadioCommand = 4
	family, err := netlink.GenlFamilyGet("MAC80211_HWSIM")
	if err != nil {
		t.Fatal(err)
	}
	err = h.Do(func() error {
		req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
		req.AddData(&nl.Genlmsg{Command: newRadioCommand, Version: 1})
		// The answer of success is the radio's number, which looks like an
		// error of that number.
		_, err := req.Execute(unix.NETLINK_GENERIC, 0)
		return err
	})
	if out, problem := h.Try("ip", "link", "show", "wlan0"); problem != nil {
		t.Fatalf("make a radio: %v; %s", err, out)
	}
}
