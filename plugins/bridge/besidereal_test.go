package bridge_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// A published port and the way out work beside a real Docker daemon.
func TestBesideDocker(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("no dockerd")
	}
	w := newWorld(t)
	dir := t.TempDir()
	cmd := w.host.Command("dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "-p", dir+"/pid",
		"-H", "unix://"+dir+"/sock", "--storage-driver", "vfs")
	if err := w.host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	nettest.Eventually(t, "dockerd has made its rules", func() error {
		_, err := w.host.Try("docker", "-H", "unix://"+dir+"/sock", "info")
		return err
	})
	if out := w.host.Run("iptables", "-S", "FORWARD"); !strings.Contains(out, "DROP") || !strings.Contains(out, "DOCKER-USER") {
		t.Skipf("this Docker leaves no policy of drop:\n%s", out)
	}
	w.worksBeside()
	if out := w.host.Run("iptables", "-S", "DOCKER-USER"); strings.Count(out, "berth:pass:br1") != 2 {
		t.Errorf("DOCKER-USER:\n%s", out)
	}
}

func TestBesideUFW(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ufw"); err != nil {
		t.Skip("no ufw")
	}
	w := newWorld(t)
	if out, err := w.host.Try("ufw", "--force", "enable"); err != nil {
		t.Skipf("ufw does not start here: %v\n%s", err, out)
	}
	if out := w.host.Run("iptables", "-S", "FORWARD"); !strings.Contains(out, "-P FORWARD DROP") {
		t.Fatalf("ufw leaves no policy of drop:\n%s", out)
	}
	w.worksBeside()
	if out := w.host.Run("iptables", "-S", "ufw-user-forward"); strings.Count(out, "berth:pass:br1") != 2 {
		t.Errorf("ufw-user-forward:\n%s", out)
	}
}

func (w *world) worksBeside() {
	w.Helper()
	w.worksBesideWith(`"ipMasq":true,`)
}

func (w *world) worksBesideWith(keys string) {
	w.Helper()
	c := w.host.NewContainer("c1")
	w.add(request(c, "front", config(1, keys), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	serve(w.T, c.Host, 80)
	serve(w.T, w.lan, 80)
	w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
	w.reaches(c.Host, "192.0.2.2:80", "192.0.2.1")
}
