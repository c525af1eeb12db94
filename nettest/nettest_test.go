package nettest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

func TestHostsReachEachOtherThroughASwitch(t *testing.T) {
	t.Parallel()
	a, b := nettest.NewHost(t, "a"), nettest.NewHost(t, "b")
	sw := nettest.NewSwitch(a)
	sw.Join(a, "eth0", "192.0.2.1/24", "2001:db8::1/64")
	sw.Join(b, "eth0", "192.0.2.2/24", "2001:db8::2/64")
	a.Ping("192.0.2.2")
	a.Ping("2001:db8::2")
}

func TestAHostWritesOnlyToItself(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	for _, dir := range []string{"/run", "/etc", "/var/lib"} {
		h.Run("touch", dir+"/nettest-was-here")
		if _, err := os.Stat(dir + "/nettest-was-here"); err == nil {
			t.Errorf("%s of the machine was written to", dir)
		}
	}
	if devices := h.Run("ls", "/sys/class/net"); strings.Contains(devices, "eth0") {
		t.Errorf("/sys shows the machine's devices: %s", devices)
	}
}

func TestAContainerIsAPinnedNetns(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	c := h.NewContainer("c1")
	if out := h.Run("ip", "netns", "list"); !strings.Contains(out, "c1") {
		t.Errorf("ip netns list: %q", out)
	}
	if out := c.Run("ip", "-o", "link"); strings.Count(out, "\n") != 1 {
		t.Errorf("a new container has more than lo: %s", out)
	}
}
