package bridge_test

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// A FORWARD policy of drop, as Docker, ufw and firewalld leave it, is answered
// in the chain that the tool offers; the policy stays.
func TestBesideAForwardPolicyOfDrop(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"DOCKER-USER", "ufw-user-forward", "FORWARD"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.host.Run("iptables", "-P", "FORWARD", "DROP")
			if place != "FORWARD" {
				w.host.Run("iptables", "-N", place)
				w.host.Run("iptables", "-A", "FORWARD", "-j", place)
			}
			c := w.host.NewContainer("c1")
			req := request(c, "front", config(1, `"ipMasq":true,`), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
			w.add(req)
			serve(t, c.Host, 80)
			serve(t, w.lan, 80)
			w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
			w.reaches(c.Host, "192.0.2.2:80", "192.0.2.1")
			w.del(req)
			w.add(req)
			if out := w.host.Run("iptables", "-S", place); strings.Count(out, "berth:pass:br1") != 2 {
				t.Errorf("not one accept each way in %s:\n%s", place, out)
			}
			if out := w.host.Run("iptables", "-S", "FORWARD"); !strings.Contains(out, "-P FORWARD DROP") {
				t.Errorf("the policy was changed:\n%s", out)
			}
		})
	}
}

// The same by the tool that does without nftables, whose rules nftables does
// not show.
func TestBesideALegacyForwardPolicyOfDrop(t *testing.T) {
	for _, place := range []string{"DOCKER-USER", "FORWARD"} {
		t.Run(place, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, backend string) { besideLegacy(t, backend, place) })
		})
	}
}

func besideLegacy(t *testing.T, backend, place string) {
	w := newWorld(t)
	if out, err := w.host.Try("iptables-legacy", "-P", "FORWARD", "DROP"); err != nil {
		t.Skipf("no legacy iptables (CONFIG_IP_NF_IPTABLES_LEGACY): %s", out)
	}
	if place != "FORWARD" {
		w.host.Run("iptables-legacy", "-N", place)
		w.host.Run("iptables-legacy", "-A", "FORWARD", "-j", place)
	}
	w.worksBeside(backend)
	// Another Add of the network finds the accepts without the tool.
	real := w.host.Run("readlink", "-f", "/usr/sbin/iptables-legacy")
	w.host.Run("mount", "--bind", "/bin/false", strings.TrimSpace(real))
	w.add(request(w.host.NewContainer("c2"), "front", config(1, `"ipMasq":true,`+with(backend))))
	w.host.Run("umount", strings.TrimSpace(real))
	if out := w.host.Run("iptables-legacy", "-S", place); strings.Count(out, "berth:pass:br1") != 2 {
		t.Errorf("not one accept each way in %s:\n%s", place, out)
	}
	w.forget(backend)
	if out := w.host.Run("iptables-legacy", "-S"); strings.Contains(out, "berth") || !strings.Contains(out, "-P FORWARD DROP") {
		t.Errorf("after the network:\n%s", out)
	}
}

// A FORWARD that ends in a rule of its own, as RHEL's iptables has it, is
// answered just before that rule, behind the administrator's others.
func TestBesideAForwardThatEndsInReject(t *testing.T) {
	tools := []string{"iptables"}
	if _, err := nettest.NewHost(t, "h").Try("iptables-legacy", "-S"); err == nil {
		tools = append(tools, "iptables-legacy")
	}
	for _, tool := range tools {
		for end, spec := range map[string][]string{
			"reject":  {"-j", "REJECT"},
			"comment": {"-m", "comment", "--comment", "all else -j ACCEPT", "-j", "DROP"},
		} {
			t.Run(tool+"/"+end, func(t *testing.T) {
				eachBackend(t, func(t *testing.T, backend string) { besideReject(t, backend, tool, spec) })
			})
		}
	}
}

func besideReject(t *testing.T, backend, tool string, end []string) {
	w := newWorld(t)
	tools := []string{tool, strings.Replace(tool, "iptables", "ip6tables", 1)}
	var before []string
	for i, tool := range tools {
		w.host.Run(tool, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")
		w.host.Run(tool, "-A", "FORWARD", "-p", "tcp", "--dport", "8081", "-j", "DROP")
		w.host.Run(tool, append([]string{"-A", "FORWARD"}, end...)...)
		before = append(before, w.host.Run(tools[i], "-S", "FORWARD"))
	}
	c := w.host.NewContainer("c1")
	req := request(c, "front", config(1, `"ipMasq":true,`+with(backend)),
		plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, plugins.PortMapping{HostPort: 8081, ContainerPort: 8081, Protocol: "tcp"})
	serve(t, c.Host, 80)
	serve(t, c.Host, 8081)
	for range 2 { // the second finds the accepts
		w.add(req)
		w.reaches(w.lan, "192.0.2.1:8080", "192.0.2.2")
		w.reaches(w.lan, "[2001:db8::1]:8080", "2001:db8::2")
		// What the administrator forbids stays forbidden.
		w.cannotReach(w.lan, "192.0.2.1:8081")
		w.cannotReach(w.lan, "[2001:db8::1]:8081")
		w.del(req)
	}
	w.forget(backend)
	for i, tool := range tools {
		after := strings.ReplaceAll(w.host.Run(tool, "-S", "FORWARD"), "-A FORWARD -j BERTH-FORWARD\n", "")
		if after != before[i] {
			t.Errorf("FORWARD after the network, and before:\n%s\n%s", after, before[i])
		}
	}
}

func (w *world) forget(backend string) {
	w.Helper()
	w.forgetNetwork(backend, "br1")
}

func (w *world) forgetNetwork(backend, bridge string) {
	w.Helper()
	fw, err := firewall.Open(backend)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.host.Do(func() error { return fw.Forget(&firewall.Network{Bridge: bridge}) }); err != nil {
		w.Error(err)
	}
}
