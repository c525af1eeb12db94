package bridge_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
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
	requireFirewalld(t)
	eachBackend(t, besideFirewalld)
}

// Of a strict port firewalld's zones decide, and its check of the reverse path
// in IPv6 (IPv6_rpfilter) lets the copy on the loop pass.
func TestStrictPublishBesideFirewalld(t *testing.T) {
	requireFirewalld(t)
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		w.startFirewalld()
		if out := w.host.Run("nft", "list", "table", "inet", "firewalld"); !strings.Contains(out, "fib saddr") {
			t.Fatalf("firewalld checks no reverse path: the test shows nothing\n%s", out)
		}
		c := w.host.NewContainer("c1")
		req := request(c, "front", config(1, `"ipMasq":true,"strictPublish":true,`+with(backend)),
			plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, plugins.PortMapping{HostPort: 8081, ContainerPort: 80, Protocol: "tcp"})
		w.add(req)
		servePort(c.Host, "tcp4", 80)
		servePort(c.Host, "tcp6", 80)
		w.acquaint(c.Host, "fd10:1::1")
		hosts := []string{"192.0.2.1", "2001:db8::1"}
		for _, host := range hosts {
			w.cannotReach(w.lan, at(host, 8080))
		}
		w.host.Run("firewall-cmd", "--add-port=8080/tcp")
		for _, host := range hosts {
			w.atOnce(w.lan, "tcp", host, "")
			w.cannotReach(w.lan, at(host, 8081))
		}
	})
}

func requireFirewalld(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"firewalld", "firewall-cmd", "dbus-daemon"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal("no ", tool)
			}
			t.Skip("no ", tool)
		}
	}
}

func besideFirewalld(t *testing.T, backend string) {
	w := newWorld(t)
	w.startFirewalld()
	w.worksBeside(backend)
	zone := func() string {
		return strings.TrimSpace(w.host.Run("firewall-cmd", "--zone=trusted", "--list-interfaces"))
	}
	if got := zone(); got != "br1" {
		t.Errorf("the trusted zone has %q", got)
	}
	// A reload of firewalld makes it forget the zone of the bridge, and ours
	// brings it back.
	w.host.Run("firewall-cmd", "--reload")
	if got := zone(); got != "" {
		t.Fatalf("firewalld keeps %q over a reload: the test shows nothing", got)
	}
	w.reload()
	if got := zone(); got != "br1" {
		t.Errorf("after firewalld's reload and ours the trusted zone has %q", got)
	}
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	w.forget(backend)
	if got := zone(); got != "" {
		t.Errorf("after the network the trusted zone has %q", got)
	}
}

func (w *world) startFirewalld() {
	w.Helper()
	bus := filepath.Join(w.TempDir(), "bus.conf")
	if err := os.WriteFile(bus, []byte(busConfig), 0o600); err != nil {
		w.Fatal(err)
	}
	w.host.Run("mkdir", "-p", "/run/dbus")
	w.host.Background("dbus-daemon", "--config-file", bus, "--nofork", "--nopidfile")
	nettest.Eventually(w.T, "the bus listens", func() error {
		_, err := w.host.Try("test", "-S", "/run/dbus/system_bus_socket")
		return err
	})
	w.host.Background("firewalld", "--nofork", "--nopid", "--log-target", "console")
	nettest.Eventually(w.T, "firewalld runs", func() error {
		_, err := w.host.Try("firewall-cmd", "--state")
		return err
	})
}
