package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/berth-net/berth/agent"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
	"github.com/berth-net/berth/state"
)

// Docker or Kubernetes switches br_netfilter on while containers run; a repair
// answers it without anybody's reload.
func TestBrNetfilterThatComesLaterIsAnswered(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	brNetfilter := func(value string) error {
		_, err := h.Try("sysctl", "-w", "net.bridge.bridge-nf-call-ip6tables="+value)
		return err
	}
	if err := errors.Join(brNetfilter("1"), brNetfilter("0")); err != nil {
		t.Skip("kernel without br_netfilter (CONFIG_BRIDGE_NETFILTER): ", err)
	}
	c := h.NewContainer("c1")
	l := c.Listen("tcp6", "[::]:80")
	go http.Serve(l, http.NotFoundHandler())
	reaches := func() error {
		conn, err := h.Dial(t.Context(), "tcp", "[::1]:8080")
		if err != nil {
			return err
		}
		return conn.Close()
	}
	err := h.Do(func() error {
		store, err := state.Default()
		if err != nil {
			return err
		}
		a, err := agent.New(agent.Options{Store: store, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer agent.Close(a)
		req := &plugins.Request{
			Network: plugins.Network{Name: "front", Type: "bridge", CNIVersion: "1.0.0",
				Config: []byte(`{"bridge":"br0","isDefaultGateway":true,"ipMasq":true,"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"fd10:10::/64"}]]}}`)},
			ContainerID: "c1", IfName: "eth0", NetNS: c.Path,
			Runtime: plugins.Runtime{PortMappings: []plugins.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}},
		}
		if _, err := bridge.New(store).Add(context.Background(), req); err != nil {
			return err
		}
		if err := agent.KeepShortcuts(a); err != nil {
			return err
		}
		if err := reaches(); err != nil {
			return err
		}
		if err := brNetfilter("1"); err != nil {
			return err
		}
		var timeout net.Error
		if err := reaches(); !errors.As(err, &timeout) {
			t.Errorf("with br_netfilter the port answers all the same (%v): the test shows nothing", err)
		}
		if err := agent.KeepShortcuts(a); err != nil {
			return err
		}
		return reaches()
	})
	if err != nil {
		t.Error(err)
	}
}
