package bridge_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// A bus of the host's own that starts no services and allows everything.
const busConfig = `<busconfig>
<type>system</type>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
</policy>
</busconfig>
`

// firewalld rejects what no zone accepts; the bridge comes into the trusted
// one, and out of it with its network.
func TestBesideFirewalld(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"firewalld", "firewall-cmd", "dbus-daemon"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal("no ", tool)
			}
			t.Skip("no ", tool)
		}
	}
	w := newWorld(t)
	bus := filepath.Join(t.TempDir(), "bus.conf")
	if err := os.WriteFile(bus, []byte(busConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	w.host.Run("mkdir", "-p", "/run/dbus")
	w.host.Background("dbus-daemon", "--config-file", bus, "--nofork", "--nopidfile")
	nettest.Eventually(t, "the bus listens", func() error {
		_, err := w.host.Try("test", "-S", "/run/dbus/system_bus_socket")
		return err
	})
	w.host.Background("firewalld", "--nofork", "--nopid", "--log-target", "console")
	nettest.Eventually(t, "firewalld runs", func() error {
		_, err := w.host.Try("firewall-cmd", "--state")
		return err
	})
	w.worksBeside()
	zone := func() string {
		return strings.TrimSpace(w.host.Run("firewall-cmd", "--zone=trusted", "--list-interfaces"))
	}
	if got := zone(); got != "br1" {
		t.Errorf("the trusted zone has %q", got)
	}
	w.forget()
	if got := zone(); got != "" {
		t.Errorf("after the network the trusted zone has %q", got)
	}
}
