package agent

import (
	"context"
	"errors"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
)

// handle answers one request on the socket.
func (a *Agent) handle(ctx context.Context, req *api.Request) (*api.Answer, error) {
	begin := time.Now()
	verb, answer, err := a.dispatch(ctx, req)
	a.metrics.requests.WithLabelValues(verb).Observe(time.Since(begin).Seconds())
	if err != nil {
		a.Log.Warn("request failed", "verb", verb, "err", err)
		return nil, coded(err)
	}
	a.Log.Debug("request", "verb", verb, "took", time.Since(begin))
	return answer, nil
}

func (a *Agent) dispatch(ctx context.Context, req *api.Request) (string, *api.Answer, error) {
	if req.Status != nil {
		return "status", &api.Answer{Status: a.status(ctx)}, nil
	}
	if req.Names != nil {
		dns, err := a.serveNames(req.Names.Key)
		return "names", &api.Answer{Names: dns}, err
	}
	if a.cluster == nil {
		return "cluster", nil, plugins.Errorf(plugins.CodeTryAgain, "the agent of this host was started without --etcd, so it knows no cluster")
	}
	switch {
	case req.Attach != nil:
		s, err := a.attach(ctx, req.Attach)
		return "attach", &api.Answer{Segment: s}, err
	case req.Lookup != nil:
		return "lookup", &api.Answer{Found: a.lookup(req.Lookup)}, nil
	case req.More != nil:
		s, err := a.more(ctx, req.More)
		return "more", &api.Answer{Segment: s}, err
	case req.Coming != nil:
		s, err := a.comes(ctx, req.Coming)
		return "coming", &api.Answer{Served: s}, err
	case req.Changed != nil:
		return "changed", &api.Answer{}, a.changed(ctx, req.Changed.Key)
	case req.CreateNetwork != nil:
		n, err := a.createNetwork(ctx, req.CreateNetwork)
		return "create", &api.Answer{Network: n}, err
	case req.RemoveNetwork != nil:
		err := a.cluster.RemoveNetwork(ctx, req.RemoveNetwork.Name)
		if errors.Is(err, cluster.ErrNoNetwork) {
			err = nil // never used, so never told to the cluster
		}
		return "remove", &api.Answer{}, err
	case req.Inspect != nil:
		n, err := a.inspect(req.Inspect.Name)
		return "inspect", &api.Answer{Network: n}, err
	case req.RotateKey != nil:
		return "rotate", &api.Answer{}, a.rotateKey()
	case req.Forget != nil:
		freed, err := a.cluster.Forget(ctx, req.Forget.Host)
		return "forget", &api.Answer{Freed: freed}, err
	}
	return "unknown", nil, plugins.Errorf(plugins.CodeDecode, "the request asks for nothing that this agent knows")
}

// serveNames opens a container's resolver.
func (a *Agent) serveNames(key endpoint.Key) (*plugins.DNS, error) {
	if a.names == nil {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "the agent of this host was started without names")
	}
	return a.names.Serve(key)
}

func (a *Agent) namesStatus() *api.NamesStatus {
	if a.names == nil {
		return nil
	}
	s := a.names.Status()
	return &api.NamesStatus{Containers: s.Containers, Questions: s.Queries, Forwarded: s.Forwarded, Failed: s.Failed}
}

// coded gives an error the code that its caller is told.
func coded(err error) error {
	var has *plugins.Error
	switch {
	case errors.As(err, &has):
		return err
	case errors.Is(err, cluster.ErrAway), errors.Is(err, cluster.ErrNameTaken), errors.Is(err, cluster.ErrNoBlock), errors.Is(err, cluster.ErrSucceeding), errors.Is(err, errNoAddress):
		return &plugins.Error{Code: plugins.CodeTryAgain, Err: err}
	case errors.Is(err, cluster.ErrInUse):
		return &plugins.Error{Code: api.CodeInUse, Err: err}
	case errors.Is(err, cluster.ErrClaimed), errors.Is(err, cluster.ErrVNITaken), errors.Is(err, cluster.ErrExists):
		return &plugins.Error{Code: plugins.CodeInvalidConfig, Err: err}
	}
	return err
}
