package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/agent/probe"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
)

// config is what the agent reads of the plugin's object.
type config struct {
	VNI       uint32                     `json:"vni"`
	Encrypted bool                       `json:"encrypted"`
	Port      uint16                     `json:"port"`
	Underlay  string                     `json:"underlay"`
	IPAM      map[string]json.RawMessage `json:"ipam"`
}

const defaultPort = 4789

// attach answers how this host joins a network. Where the host has a block of
// each range and no static address is asked for, etcd is not.
func (a *Agent) attach(ctx context.Context, req *api.Attach) (*api.Segment, error) {
	if a.isFenced() {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "this host has been without etcd for so long that others may use its addresses")
	}
	if err := a.cluster.Admitted(ctx); err != nil {
		return nil, err
	}
	n, err := a.networkFor(ctx, req.Key.Network, req.Config)
	if err != nil {
		return nil, err
	}
	if err := a.checkStrangers(n); err != nil {
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "%w", err)
	}
	conf, pool, err := a.decoded(n)
	if err != nil {
		return nil, err
	}
	for _, set := range pool.Ranges {
		if len(a.blocksIn(n.Name, set)) > 0 {
			continue
		}
		if _, err := a.acquireBlock(ctx, n.Name, set); err != nil {
			return nil, err
		}
	}
	var alone []netip.Addr
	for _, static := range req.Static {
		own, err := a.reserve(ctx, req.Key, pool, static)
		if err != nil {
			return nil, err
		}
		if !own {
			alone = append(alone, static)
		}
	}
	return a.segment(req.Key, n, conf, pool, alone)
}

// more adds a block to each range whose blocks the caller used up, if none was
// added since.
func (a *Agent) more(ctx context.Context, req *api.More) (*api.Segment, error) {
	n, err := a.networkFor(ctx, req.Key.Network, req.Config)
	if err != nil {
		return nil, err
	}
	conf, pool, err := a.decoded(n)
	if err != nil {
		return nil, err
	}
	added := errors.New("")
	for _, set := range pool.Ranges {
		fresh := slices.ContainsFunc(a.blocksIn(n.Name, set), func(p netip.Prefix) bool { return !slices.Contains(req.Have, p) })
		if fresh {
			added = nil
			continue
		}
		// One family may be full while the other has room.
		if _, err = a.acquireBlock(ctx, n.Name, set); err == nil {
			added = nil
		}
	}
	if added != nil {
		return nil, err
	}
	return a.segment(req.Key, n, conf, pool, nil)
}

// networkFor finds the cluster's network, or makes it of the configuration:
// one conflist on every node is enough.
func (a *Agent) networkFor(ctx context.Context, name string, raw json.RawMessage) (*cluster.Network, error) {
	if n := a.cluster.View().Network(name); n != nil {
		return n, nil
	}
	n, err := a.cluster.ReadNetwork(ctx, name)
	if !errors.Is(err, cluster.ErrNoNetwork) {
		return n, err
	}
	switch err := a.cluster.RemakeNetwork(ctx, name); {
	case err == nil:
		return a.cluster.ReadNetwork(ctx, name)
	case !errors.Is(err, cluster.ErrNoNetwork):
		return nil, err
	}
	if n, err = a.create(ctx, cluster.Network{Name: name, Config: raw}); errors.Is(err, cluster.ErrExists) {
		return a.cluster.ReadNetwork(ctx, name)
	}
	return n, err
}

func (a *Agent) create(ctx context.Context, n cluster.Network) (*cluster.Network, error) {
	conf, _, err := decode(&n)
	if err != nil {
		return nil, err
	}
	n.VNI, n.Created = conf.VNI, time.Now().UTC()
	return a.cluster.CreateNetwork(ctx, n, func(uint32) (json.RawMessage, error) { return n.Config, nil })
}

func (a *Agent) createNetwork(ctx context.Context, req *api.CreateNetwork) (*api.Network, error) {
	if _, err := a.create(ctx, cluster.Network{Name: req.Name, Config: req.Config, List: req.List, Labels: req.Labels}); err != nil {
		return nil, err
	}
	return a.inspect(req.Name)
}

// reading is a network of the view and what decode made of it. Neither is
// ever changed.
type reading struct {
	of   *cluster.Network
	conf *config
	pool *ipam.Config
}

// decoded is decode, once for each version of a network: every ADD asks.
func (a *Agent) decoded(n *cluster.Network) (*config, *ipam.Config, error) {
	a.hasty.Lock()
	have := a.readings[n.Name]
	a.hasty.Unlock()
	if have.of == n {
		return have.conf, have.pool, nil
	}
	conf, pool, err := decode(n)
	if err != nil {
		return nil, nil, err
	}
	a.hasty.Lock()
	defer a.hasty.Unlock()
	a.readings[n.Name] = reading{n, conf, pool}
	return conf, pool, nil
}

// decode reads a network's configuration and its ranges.
func decode(n *cluster.Network) (*config, *ipam.Config, error) {
	conf := new(config)
	if err := json.Unmarshal(n.Config, conf); err != nil {
		return nil, nil, plugins.Errorf(plugins.CodeDecode, "decode configuration of network %s: %w", n.Name, err)
	}
	if conf.Port == 0 {
		conf.Port = defaultPort
	}
	if conf.VNI == probe.VNI {
		return nil, nil, plugins.Errorf(plugins.CodeInvalidConfig, "network %s: vni: %d is what the agents try tunnels with; choose another", n.Name, conf.VNI)
	}
	raw, err := json.Marshal(conf.IPAM)
	if err != nil || conf.IPAM == nil {
		return nil, nil, plugins.Errorf(plugins.CodeInvalidConfig, "network %s: ipam: the etcd control plane needs ranges", n.Name)
	}
	pool, err := ipam.Parse(raw)
	if err != nil {
		return nil, nil, err
	}
	if !pool.Embedded() || len(pool.Ranges) == 0 {
		return nil, nil, plugins.Errorf(plugins.CodeInvalidConfig, "network %s: ipam: the etcd control plane needs type berth-ipam and ranges", n.Name)
	}
	return conf, pool, nil
}

// blocksIn are this host's blocks of one range set.
func (a *Agent) blocksIn(network string, set ipam.RangeSet) (in []netip.Prefix) {
	for _, p := range a.cluster.BlocksOf(network) {
		if slices.ContainsFunc(set, func(r ipam.Range) bool { return r.Subnet.Contains(p.Addr()) }) {
			in = append(in, p)
		}
	}
	return in
}

// reserve makes a static address this host's, and tells whether it lies in a
// block.
func (a *Agent) reserve(ctx context.Context, key endpoint.Key, pool *ipam.Config, static netip.Addr) (inBlock bool, err error) {
	for _, set := range pool.Ranges {
		for _, r := range set {
			if !r.Subnet.Contains(static) {
				continue
			}
			inBlock = r.Start.Compare(static) <= 0 && static.Compare(r.End) <= 0
			if inBlock && slices.ContainsFunc(a.blocksIn(key.Network, set), func(p netip.Prefix) bool { return p.Contains(static) }) {
				return true, nil
			}
			a.mu.Lock()
			a.claimed[claim{key.Network, static}] = claimed{key, time.Now()}
			a.mu.Unlock()
			return inBlock, whenBehind(a.cluster.AcquireAddress(ctx, key.Network, set, static))
		}
	}
	return false, plugins.Errorf(plugins.CodeInvalidConfig, "address %s is in no subnet of network %s", static, key.Network)
}

// segment tells the plugin what it cannot know: the VNI, this host's address,
// and the ranges cut down to this host's blocks.
func (a *Agent) segment(key endpoint.Key, n *cluster.Network, conf *config, pool *ipam.Config, alone []netip.Addr) (*api.Segment, error) {
	s := &api.Segment{VNI: n.VNI, Port: conf.Port, Blocks: a.cluster.BlocksOf(n.Name)}
	if err := a.place(key, conf, s); err != nil {
		return nil, err
	}
	type span struct {
		Subnet  netip.Prefix `json:"subnet"`
		Start   netip.Addr   `json:"rangeStart"`
		End     netip.Addr   `json:"rangeEnd"`
		Gateway netip.Addr   `json:"gateway,omitzero"`
	}
	sets := [][]span{}
	for _, set := range pool.Ranges {
		var spans []span
		for _, r := range set {
			for _, p := range s.Blocks {
				if c, some := cluster.Clip(r, p); some && r.Subnet.Contains(p.Addr()) {
					spans = append(spans, span{c.Subnet, c.Start, c.End, r.Gateway})
				}
			}
			for _, static := range alone {
				if r.Subnet.Contains(static) {
					spans = append(spans, span{r.Subnet, static, static, r.Gateway})
				}
			}
		}
		sets = append(sets, spans)
	}
	object := map[string]json.RawMessage{}
	for k, v := range conf.IPAM {
		object[k] = v
	}
	var err error
	if object["ranges"], err = json.Marshal(sets); err != nil {
		return nil, fmt.Errorf("encode ranges: %w", err)
	}
	delete(object, "subnet")
	delete(object, "rangeStart")
	delete(object, "rangeEnd")
	delete(object, "gateway")
	if s.IPAM, err = json.Marshal(object); err != nil {
		return nil, fmt.Errorf("encode ipam: %w", err)
	}
	return s, nil
}

// place says where this host's end of the network's tunnels is: on the
// underlay, or inside the mesh.
func (a *Agent) place(key endpoint.Key, conf *config, s *api.Segment) (err error) {
	if !conf.Encrypted {
		s.Underlay = conf.Underlay
		s.Local, err = a.tunnelEnd()
		return err
	}
	link, err := a.joinMesh(key)
	if err != nil {
		return err
	}
	s.Local, s.Underlay, s.Encrypted = a.secret.tunnel, link.Attrs().Name, true
	return nil
}

// acquireBlock adds a block to this host's, and remembers it at once.
func (a *Agent) acquireBlock(ctx context.Context, network string, set ipam.RangeSet) (netip.Prefix, error) {
	block, err := a.cluster.AcquireBlock(ctx, network, set)
	if err == nil {
		a.trouble("remember the cluster", a.cluster.Remember(a.memory()))
	}
	return block, whenBehind(err)
}

// whenBehind is for a network that the view has and etcd has no more.
func whenBehind(err error) error {
	if errors.Is(err, cluster.ErrNoNetwork) {
		return plugins.Errorf(plugins.CodeTryAgain, "%w any more", err)
	}
	return err
}
