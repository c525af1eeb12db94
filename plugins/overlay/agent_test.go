package overlay_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins/overlay"
	"github.com/berth-net/berth/state"
)

const ofCluster = `{"type":"overlay","controlPlane":"etcd","ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.42.0.0/24","gateway":"10.42.0.1"}]]}}`

// fakeAgent answers a driver as an agent does, and notes what it is asked.
type fakeAgent struct {
	net.Listener
	*nettest.Host

	mu     sync.Mutex
	asked  []string
	serves *api.Served  // nil: no devices
	delays *state.Guard // nil: it lives on. Else it dies when it has answered to coming, another answers at once, and only then devices are made
}

func newFakeAgent(t *testing.T, h *nettest.Host) *fakeAgent {
	t.Helper()
	f := &fakeAgent{Host: h}
	err := h.Do(func() error {
		store, err := state.Default()
		if err == nil {
			f.Listener, err = api.Listen(store)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = api.Serve(context.Background(), f, f.answer) }()
	t.Cleanup(func() { f.Close() })
	return f
}

func (f *fakeAgent) answer(_ context.Context, req *api.Request) (*api.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case req.Attach != nil:
		f.asked = append(f.asked, "attach")
		return &api.Answer{Segment: &api.Segment{
			VNI: 42, Port: 4789, Local: netip.MustParseAddr("192.0.2.1"), Blocks: []netip.Prefix{},
			IPAM: []byte(`{"type":"berth-ipam","ranges":[[{"subnet":"10.42.0.0/24","gateway":"10.42.0.1"}]]}`),
		}}, nil
	case req.Coming != nil:
		f.asked = append(f.asked, "coming")
		return &api.Answer{Served: f.serves}, nil
	case req.Changed != nil:
		f.asked = append(f.asked, "changed")
	}
	return &api.Answer{}, nil
}

// devices are those of the network as they are now.
func (f *fakeAgent) devices(t *testing.T) *api.Served {
	t.Helper()
	s := new(api.Served)
	err := f.Do(func() error {
		c, err := netdev.Dial()
		if err != nil {
			return err
		}
		defer c.Close()
		bridge, bridgeErr := c.Device("bo-front")
		vxlan, err := c.Device("vx-front")
		if err = errors.Join(bridgeErr, err); err == nil {
			s.Bridge, s.VXLAN = bridge.Index, vxlan.Index
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Accept implements net.Listener.
func (f *fakeAgent) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	return &mortal{conn, f}, err
}

type mortal struct {
	net.Conn
	f *fakeAgent
}

// Write sends an answer, and hangs up where it was the agent's last.
func (m *mortal) Write(answer []byte) (int, error) {
	n, err := m.Conn.Write(answer)
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	if m.f.delays != nil && m.f.asked[len(m.f.asked)-1] == "coming" {
		m.Conn.Close()
		m.f.delays.Release()
	}
	return n, err
}

// delay holds up whoever makes devices.
func (f *fakeAgent) delay(t *testing.T) (g *state.Guard) {
	t.Helper()
	err := f.Do(func() error {
		store, err := state.Default()
		if err == nil {
			g, err = store.TryGuard(overlay.GuardName)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// An agent that serves the devices knows all of an endpoint from hearing that
// it comes. One that does not, or a new one that has not heard it, must be
// told when the record is ready.
func TestTheAgentIsToldWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := newFakeAgent(t, w.a)
	add := func(name string, serves *api.Served, delays *state.Guard, want ...string) {
		t.Helper()
		f.mu.Lock()
		f.serves, f.delays, f.asked = serves, delays, nil
		f.mu.Unlock()
		w.add(w.a, w.a.NewContainer(name), ofCluster)
		f.mu.Lock()
		defer f.mu.Unlock()
		if !slices.Equal(f.asked, want) {
			t.Errorf("%s: the agent was asked %q, want %q", name, f.asked, want)
		}
	}
	add("first", nil, nil, "attach", "coming", "changed")
	devices := f.devices(t)
	add("served", devices, nil, "attach", "coming")
	add("dead", devices, f.delay(t), "attach", "coming", "changed")
	// What is made anew is another device, which the agent does not serve.
	w.a.Run("ip", "link", "delete", "vx-front")
	add("anew", devices, nil, "attach", "coming", "changed")
}
