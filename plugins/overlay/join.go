package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

// membership is how this host came to know its place in the network: from the
// configuration alone, or from the agent.
type membership struct {
	conf   *Config
	store  *state.Store
	key    endpoint.Key
	raw    json.RawMessage // as the caller gave it
	blocks []netip.Prefix
	driven driven    // of the record
	agent  *api.Conn // nil: nobody need be asked
	told   bool      // of coming, whose answer has not been read
}

// join asks the agent for what the configuration leaves to the cluster. It does
// not wait for the answer: settle does.
func (d *Driver) join(ctx context.Context, c *Config, req *plugins.Request) (*membership, error) {
	m := &membership{
		conf: c, store: d.store, raw: req.Config,
		key: endpoint.Key{Network: req.Name, ContainerID: req.ContainerID, IfName: req.IfName},
	}
	if c.ControlPlane != Etcd {
		return m, nil
	}
	static := []netip.Addr{}
	for _, p := range slices.Concat(req.Runtime.IPs, req.Args.IPs) {
		static = append(static, p.Addr())
	}
	var err error
	if m.agent, err = api.Dial(ctx, m.store); err != nil {
		return nil, err
	}
	if err = m.agent.Send(api.Request{Attach: &api.Attach{Key: m.key, Config: m.raw, Static: static}}); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *membership) close() {
	if m.agent != nil {
		m.agent.Close()
	}
}

// settle waits for this host's place in the network.
func (m *membership) settle() error {
	if m.agent == nil {
		return nil
	}
	answer, err := m.agent.Answer()
	if err != nil {
		return err
	}
	s := answer.Segment
	if s == nil {
		return plugins.Errorf(plugins.CodeInternal, "the agent gave no segment for network %s", m.key.Network)
	}
	if m.conf.Encrypted && !s.Encrypted {
		return plugins.Errorf(plugins.CodeInvalidConfig, "network %s: encrypted: the cluster's network of this name is not; nothing is sent in clear text instead", m.key.Network)
	}
	if s.Encrypted && s.Underlay == "" {
		return plugins.Errorf(plugins.CodeInternal, "the agent gave no device for the encrypted network %s", m.key.Network)
	}
	m.conf.VNI, m.conf.Port, m.conf.Local, m.conf.Underlay = s.VNI, s.Port, s.Local, s.Underlay
	m.conf.Encrypted = s.Encrypted
	m.conf.IPAM, m.blocks = s.IPAM, s.Blocks
	if s.MTU > 0 {
		m.conf.MTU = s.MTU
	}
	return nil
}

// begin enters the container while the agent works, and takes the address from
// this host's blocks.
func (m *membership) begin(ctx context.Context, d *Driver, req *plugins.Request) (*attach.Attachment, error) {
	a, err := attach.Enter(m.store, req, false)
	if err != nil {
		return nil, err
	}
	if err = m.settle(); err == nil {
		err = m.take(ctx, d, req, a)
	}
	if err != nil {
		return nil, a.Leave(err)
	}
	return a, nil
}

// take asks for one block more when this host's are used up.
func (m *membership) take(ctx context.Context, d *Driver, req *plugins.Request, a *attach.Attachment) error {
	err := m.takeFrom(ctx, d, req, a)
	if m.agent == nil || !errors.Is(err, ipam.ErrExhausted) {
		return err
	}
	if err = m.agent.Send(api.Request{More: &api.More{Key: m.key, Config: m.raw, Have: m.blocks}}); err == nil {
		err = m.settle()
	}
	if err != nil {
		return err
	}
	return m.takeFrom(ctx, d, req, a)
}

// takeFrom takes the address from the ranges as they are known.
func (m *membership) takeFrom(ctx context.Context, d *Driver, req *plugins.Request, a *attach.Attachment) error {
	if m.conf.IPAM != nil {
		if err := a.Read(m.conf.IPAM); err != nil {
			return err
		}
	}
	m.driven = m.conf.driven(gatewaysOf(a.IPAM))
	return a.Take(ctx, attach.Spec{HostIfName: hostName(req), Ports: req.Runtime.PortMappings, Driven: m.driven, Del: d.Del})
}

// coming has the agent tell the cluster of the endpoint while its devices are
// being made, and does not wait for it. That it fails is no matter: ready
// follows.
func (m *membership) coming(w *wiring) {
	if m.agent == nil || w.mac() == nil {
		return
	}
	e := &api.Endpoint{Network: m.key.Network, ContainerID: m.key.ContainerID, IfName: m.key.IfName, Name: w.a.Record.Name, MAC: w.mac().String(), Aliases: w.a.Record.Aliases}
	for _, p := range w.a.Record.Addresses {
		e.Addresses = append(e.Addresses, p.Addr())
	}
	m.told = m.agent.Send(api.Request{Coming: e}) == nil
}

// ready has the agent tell the cluster of the endpoint, whose record is ready,
// where it has not told it all already: of an endpoint on devices that it
// serves there is no more to say than that it comes. An agent that has begun
// since finds the record.
func (m *membership) ready(ctx context.Context, w *wiring) {
	if s := m.heard(); s != nil && *s == w.served && m.agent.Alive() {
		return
	}
	m.changed(ctx)
}

// heard reads the answer to coming. It has to be heard before anything else is
// said, or it would be taken for the later news.
func (m *membership) heard() *api.Served {
	if !m.told {
		return nil
	}
	m.told = false
	answer, err := m.agent.Answer()
	if err != nil {
		return nil
	}
	return answer.Served
}

// changed has the agent look at the record. One that has just died finds it
// when it is back, so the attachment stands.
func (m *membership) changed(ctx context.Context) {
	if m.agent == nil {
		return
	}
	m.heard()
	req := api.Request{Changed: &api.Changed{Key: m.key}}
	if _, err := m.agent.Call(req); err != nil { // another may run by now
		_, _ = api.Call(ctx, m.store, req)
	}
}

// withdraw tells the agent, if one runs, that a record is gone.
func (d *Driver) withdraw(ctx context.Context, req *plugins.Request) {
	c, err := parse(&req.Network)
	if err != nil || c.ControlPlane != Etcd {
		return
	}
	key := endpoint.Key{Network: req.Name, ContainerID: req.ContainerID, IfName: req.IfName}
	_, _ = api.Call(ctx, d.store, api.Request{Changed: &api.Changed{Key: key}})
}

func (d *Driver) agentStatus(ctx context.Context) error {
	answer, err := api.Call(ctx, d.store, api.Request{Status: &struct{}{}})
	switch {
	case err != nil:
		return &plugins.Error{Code: plugins.CodeNotAvailable, Err: err}
	case answer.Status == nil || answer.Status.Cluster == nil:
		return plugins.Errorf(plugins.CodeNotAvailable, "the agent of this host was started without --etcd")
	}
	return nil
}
