package agent

import (
	"context"
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/overlay"
)

// keepFilter puts back what holds the overlays' packets where they belong, and
// with it whatever else was flushed. It needs neither etcd nor the agent's
// mutex: an open host must not wait for them.
func (a *Agent) keepFilter(ctx context.Context) error {
	records, err := attach.Records(a.Store, "")
	if err != nil {
		return err
	}
	var errs []error
	flushed, seen := false, map[string]bool{}
	for _, r := range records {
		if r.Driver != "overlay" || r.Phase != endpoint.Ready || seen[r.Network] {
			continue
		}
		seen[r.Network] = true
		removed, err := overlay.KeepFilter(ctx, a.Store, r)
		errs = append(errs, err)
		if removed {
			flushed = true
			a.Log.Warn("the packet filter was flushed: rebuilding it", "network", r.Network)
			a.metrics.repaired.Inc()
		}
	}
	if flushed && a.Catalogue != nil {
		_, err := a.Catalogue.Reload(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// watchFilter calls keepFilter when something is removed from the packet
// filter that belongs there, until ctx ends.
func (a *Agent) watchFilter(ctx context.Context) error {
	w, err := firewall.NewWatch()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { w.Close() })
	for {
		err := w.Next(settle)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		a.trouble("keep the packet filter", a.keepFilter(ctx))
	}
}
