package agent

import (
	"errors"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/bridge"
	"github.com/berth-net/berth/plugins/overlay"
)

// keepShortcuts makes what ports need once another tool has switched
// br_netfilter on (docs/adr/0115). The kernel tells nobody of that, so it is
// looked for at each repair; keep alone calls it.
func (a *Agent) keepShortcuts() error {
	now := attach.FiltersBridged()
	if now == a.filtersBridged {
		return nil
	}
	records, err := attach.Records(a.Store, "")
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r *endpoint.Record) bool { return r.Phase != endpoint.Ready || !r.Alive() })
	if err := errors.Join(bridge.New(a.Store).Reload(records), overlay.New(a.Store).Reload(records)); err != nil {
		return err
	}
	a.filtersBridged = now
	return nil
}
