package agent

import (
	"bytes"
	"context"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins/attach"
)

// install gives this host the conflists of the cluster's networks and takes
// back those of networks that are gone.
func (a *Agent) install() {
	if a.Catalogue == nil {
		return
	}
	lists := map[string][]byte{}
	for _, n := range a.cluster.View().Networks() {
		if len(n.List) > 0 {
			lists[n.Name] = bytes.TrimSpace(n.List)
		}
	}
	a.trouble("install networks", a.Catalogue.Install(lists))
}

// claimAge is how long a static address may be without a record: that of the
// Add that asked for it.
const claimAge = time.Minute

// releaseClaims gives up the static addresses that no record has any more.
func (a *Agent) releaseClaims(ctx context.Context, network string) {
	records, err := attach.Records(a.Store, network)
	if err != nil {
		a.trouble("release static addresses", err)
		return
	}
	for addr, host := range a.cluster.View().Claims(network) {
		if host != a.Name || held(records, addr.String()) {
			continue
		}
		a.mu.Lock()
		young := time.Since(a.claimed[network+" "+addr.String()]) < claimAge
		a.mu.Unlock()
		if !young {
			a.trouble("release static addresses", a.cluster.ReleaseAddress(ctx, network, addr))
		}
	}
}

func held(records []*endpoint.Record, addr string) bool {
	for _, r := range records {
		for _, p := range r.Addresses {
			if p.Addr().String() == addr {
				return true
			}
		}
	}
	return false
}
