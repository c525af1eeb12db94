package bridge_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// A published port and the way out work beside a real Docker daemon. The
// accepts of the iptables backend are final, so it needs none in Docker's chain.
func TestBesideDocker(t *testing.T) {
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("no dockerd")
	}
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		w.startDocker()
		if out := w.host.Run("iptables", "-S", "FORWARD"); !strings.Contains(out, "DROP") || !strings.Contains(out, "DOCKER-USER") {
			t.Skipf("this Docker leaves no policy of drop:\n%s", out)
		}
		w.worksBeside(backend)
		w.acceptedIn(backend, "DOCKER-USER")
	})
}

func (w *world) startDocker() {
	w.Helper()
	dir := w.TempDir()
	cmd := w.host.Command("dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "-p", dir+"/pid",
		"-H", "unix://"+dir+"/sock", "--storage-driver", "vfs")
	if err := w.host.Start(cmd); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	nettest.Eventually(w.T, "dockerd has made its rules", func() error {
		_, err := w.host.Try("docker", "-H", "unix://"+dir+"/sock", "info")
		return err
	})
}

func TestBesideUFW(t *testing.T) {
	if _, err := exec.LookPath("ufw"); err != nil {
		t.Skip("no ufw")
	}
	eachBackend(t, func(t *testing.T, backend string) {
		w := newWorld(t)
		if out, err := w.host.Try("ufw", "--force", "enable"); err != nil {
			t.Skipf("ufw does not start here: %v\n%s", err, out)
		}
		if out := w.host.Run("iptables", "-S", "FORWARD"); !strings.Contains(out, "-P FORWARD DROP") {
			t.Fatalf("ufw leaves no policy of drop:\n%s", out)
		}
		w.worksBeside(backend)
		w.acceptedIn(backend, "ufw-user-forward")
		w.host.Run("ufw", "reload") // which empties its chains
		w.reload()
		w.acceptedIn(backend, "ufw-user-forward")
		w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	})
}

// acceptedIn looks for the accepts that nftables needs in another tool's chain.
func (w *world) acceptedIn(backend, chain string) {
	w.Helper()
	want := 2
	if backend == firewall.BackendIPTables {
		want = 0
	}
	if out := w.host.Run("iptables", "-S", chain); strings.Count(out, "berth:pass:br1") != want {
		w.Errorf("not %d accepts in %s:\n%s", want, chain, out)
	}
}

func (w *world) worksBeside(backend string) {
	w.Helper()
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", config(1, `"ipMasq":true,`+with(backend)), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	serve(w.T, c.Host, 80)
	serve(w.T, w.lan, 80)
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	w.reaches(w.lan, "[2001:db8::1]:8080", "2001:db8::2")
	w.reaches(c.Host, "192.0.2.2:80", "192.0.2.1")
	w.reaches(c.Host, "[2001:db8::2]:80", "2001:db8::1")
}
