package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/berth-net/berth/agent/dhcp"
	"github.com/berth-net/berth/endpoint"
	dhcpplugin "github.com/berth-net/berth/plugins/dhcp"
	"github.com/berth-net/berth/state"
)

// serveDHCP runs the DHCP client for our plugin, and for the CNI project's
// where its own daemon does not run.
func (a *Agent) serveDHCP(ctx context.Context, wg *sync.WaitGroup) {
	s := &dhcp.Server{
		Store: a.Store, Log: a.Log, Report: a.trouble,
		Moved: func(k endpoint.Key, from, to netip.Prefix) {
			a.trouble("follow DHCP lease", a.readdress(ctx, k, from, to))
		},
	}
	var listeners []net.Listener
	for _, socket := range []string{dhcpplugin.DefaultSocket, dhcp.UpstreamSocket} {
		l, err := dhcp.Listen(socket)
		if err == nil {
			listeners = append(listeners, l)
		} else if errors.Is(err, dhcp.ErrTaken) && socket == dhcp.UpstreamSocket {
			a.Log.Info("the CNI project's own daemon serves its plugin dhcp", "socket", socket)
		} else {
			a.trouble("serve DHCP", err)
		}
	}
	wg.Go(func() { a.trouble("serve DHCP", s.Serve(ctx, listeners...)) })
}

// readdress records that an attachment has another address, or none where to
// is not valid, and rebuilds the packet filter, which has its addresses.
func (a *Agent) readdress(ctx context.Context, k endpoint.Key, from, to netip.Prefix) error {
	err := a.Store.Update(func(tx *state.Tx) error {
		r, err := endpoint.Get(tx, k)
		if err != nil {
			return err
		}
		r.Addresses = slices.DeleteFunc(r.Addresses, func(p netip.Prefix) bool { return p == from })
		if to.IsValid() {
			r.Addresses = append(r.Addresses, to)
		}
		return endpoint.Put(tx, r)
	})
	if errors.Is(err, endpoint.ErrNotFound) {
		return nil // another suite's driver delegates to us
	}
	if err != nil || a.Catalogue == nil {
		return err
	}
	_, err = a.Catalogue.Reload(ctx)
	return err
}
