package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/berth-net/berth/nettest"
)

func (p *plugged) eventually(from *nettest.Host, address, name, want string) {
	p.Helper()
	nettest.Eventually(p, "the answer for "+name, func() error {
		if got := from.LookUp(address, name, wire.TypeA); got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

func (p *plugged) eventuallyClosed(in *nettest.Host) {
	p.Helper()
	nettest.Eventually(p, "no resolver listens any more", func() error {
		if got := in.LookUp("127.0.0.11:53", "x", wire.TypeA); !strings.Contains(got, "refused") {
			return fmt.Errorf("%q, want that it is refused", got)
		}
		return nil
	})
}

// Containers of a runtime that knows nothing of berth are served by the agent
// on networks that ask for it, and told so in the CNI result only then.
func TestAgentServesNames(t *testing.T) {
	t.Parallel()
	p := &plugged{t, nettest.NewHost(t, "h"), binaries(t)}
	p.h.Run("sh", "-c", "printf 'nameserver 127.0.0.1\nsearch corp.example\n' >/etc/resolv.conf")
	p.berth("network", "create", "--subnet", "10.10.0.0/24", "front")
	p.berth("network", "create", "--subnet", "10.20.0.0/24", "-o", "names=false", "quiet")
	early, web, app, pod := p.h.NewContainer("early"), p.h.NewContainer("web"), p.h.NewContainer("app"), p.h.NewContainer("pod")
	for _, c := range []*nettest.Container{early, web, app, pod} {
		c.Run("ip", "link", "set", "lo", "up")
	}
	if dns := p.call("ADD", "front", early).DNS; len(dns.Nameservers) > 0 {
		t.Errorf("without an agent the result has %v", dns)
	}
	agent := p.h.Background(filepath.Join(p.bin, "berth"), "agent", "--names-at", "127.0.0.54")
	p.eventually(early.Host, "127.0.0.11:53", "early", "NOERROR 10.10.0.2") // what was there already
	for _, c := range []*nettest.Container{web, app} {
		dns := p.call("ADD", "front", c).DNS
		if got := fmt.Sprint(dns.Nameservers, dns.Search); got != "[127.0.0.11] [corp.example]" {
			t.Errorf("with an agent the result has %v", dns)
		}
		// At once: the socket is open when ADD returns.
		if got := c.Host.LookUp("127.0.0.11:53", "early", wire.TypeA); got != "NOERROR 10.10.0.2" {
			t.Errorf("%s asks for early: %s", c.Name, got)
		}
	}
	if dns := p.call("ADD", "quiet", pod).DNS; len(dns.Nameservers) > 0 {
		t.Errorf("on a network without names the result has %v", dns)
	}
	if got := pod.Host.LookUp("127.0.0.11:53", "pod", wire.TypeA); !strings.Contains(got, "refused") {
		t.Errorf("in a container on a network without names: %s", got)
	}
	for _, name := range []string{"web", "web-alias", "web.front", "web.corp.example"} {
		if got := app.Host.LookUp("127.0.0.11:53", name, wire.TypeA); got != "NOERROR 10.10.0.3" {
			t.Errorf("app asks for %s: %s", name, got)
		}
	}
	if got := p.h.LookUp("127.0.0.54:53", "web", wire.TypeA); got != "NOERROR 10.10.0.3" {
		t.Errorf("the host asks for web: %s", got)
	}
	if status := p.berth("agent", "status"); !strings.Contains(status, "Names:") || !strings.Contains(status, "in 3 containers") {
		t.Errorf("status:\n%s", status)
	}
	p.call("DEL", "front", web)
	p.eventuallyClosed(web.Host)
	p.eventually(app.Host, "127.0.0.11:53", "web", "NXDOMAIN")
	agent.Kill()
	p.eventuallyClosed(app.Host)
	p.h.Background(filepath.Join(p.bin, "berth"), "agent")
	p.eventually(app.Host, "127.0.0.11:53", "early", "NOERROR 10.10.0.2")
	// A container that dies without a DEL: its namespace goes with the socket.
	p.h.Run("umount", "--lazy", early.Path)
	p.eventually(app.Host, "127.0.0.11:53", "early", "NXDOMAIN")
}
