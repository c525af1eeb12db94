package nettest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Feature is something that a kernel can be built without.
type Feature int

// What tests need that not every machine's kernel has.
const (
	BridgeVLANs Feature = iota
	VLANDevices
	DummyDevices
	IPVlanDevices
	SCTP
	WireGuard
	SimulatedWifi
	BridgeNetfilter
)

// feature is what a kernel calls it, and how to ask for it.
type feature struct {
	name, config string
	probe        func(*Host) error
}

func (f Feature) describe() feature {
	switch f {
	case BridgeVLANs:
		return feature{"bridge VLAN filtering", "CONFIG_BRIDGE_VLAN_FILTERING", canLink("type", "bridge", "vlan_filtering", "1")}
	case VLANDevices:
		return feature{"802.1Q VLAN devices", "CONFIG_VLAN_8021Q", canStack("type", "vlan", "id", "9")}
	case DummyDevices:
		return feature{"dummy devices", "CONFIG_DUMMY", canLink("type", "dummy")}
	case IPVlanDevices:
		return feature{"ipvlan devices", "CONFIG_IPVLAN", canStack("type", "ipvlan")}
	case SCTP:
		return feature{"SCTP", "CONFIG_IP_SCTP", canSCTP}
	case WireGuard:
		return feature{"WireGuard devices", "CONFIG_WIREGUARD", canLink("type", "wireguard")}
	case SimulatedWifi:
		return feature{"simulated wireless devices", "CONFIG_MAC80211_HWSIM", canSimulateWifi}
	case BridgeNetfilter:
		return feature{"br_netfilter", "CONFIG_BRIDGE_NETFILTER", canFilterBridged}
	}
	return feature{fmt.Sprintf("feature %d", f), "", func(*Host) error { return errors.New("no such feature") }}
}

// FullKernel names the variable of the environment that forbids RequireKernel
// to skip: in the virtual machine of package vm, whose kernel has everything.
const FullKernel = "NETTEST_FULL_KERNEL"

// RequireKernel skips the test where the kernel lacks a feature, and names
// it. Package vm finds the tests that call it and runs them on a kernel that
// has all, so call it in the test function itself. That kernel is an older one:
// what differs there may be tested there with no feature named.
func RequireKernel(t testing.TB, features ...Feature) {
	t.Helper()
	h := NewHost(t, "probe")
	for _, f := range features {
		d := f.describe()
		err := d.probe(h)
		switch {
		case err == nil:
		case os.Getenv(FullKernel) != "":
			t.Fatalf("this kernel should have %s (%s): %v", d.name, d.config, err)
		default:
			t.Skipf("needs %s (%s): %v", d.name, d.config, err)
		}
	}
}

// canLink makes a device and takes it away again: a namespace's devices die in
// the background, and would be seen in the process's own where they are moved.
func canLink(words ...string) func(*Host) error {
	return func(h *Host) error {
		if out, err := h.Try("ip", append([]string{"link", "add", "name", "probe"}, words...)...); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
		}
		_, err := h.Try("ip", "link", "delete", "probe")
		return err
	}
}

// canStack is canLink for a device that stands on another.
func canStack(words ...string) func(*Host) error {
	return func(h *Host) error {
		if out, err := h.Try("ip", "link", "add", "base", "type", "veth", "peer", "name", "peer"); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
		}
		defer h.Try("ip", "link", "delete", "base")
		return canLink(append([]string{"link", "base"}, words...)...)(h)
	}
}

// canFilterBridged also fails where br_netfilter is a module that is not
// loaded: that would change every network namespace of the machine.
func canFilterBridged(h *Host) error {
	_, err := h.Try("sysctl", "net.bridge.bridge-nf-call-iptables")
	return err
}

func canSCTP(h *Host) error {
	return h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}

func canSimulateWifi(*Host) error {
	_, err := netlink.GenlFamilyGet(hwsimFamily)
	return err
}

// hwsimFamily is the generic netlink family of drivers/net/wireless/virtual/mac80211_hwsim.c.
const hwsimFamily = "MAC80211_HWSIM"
