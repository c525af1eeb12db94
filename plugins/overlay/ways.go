package overlay

import (
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins/attach"
)

// openWays makes what published ports need besides rules: that the bridge
// routes the host's loopback addresses, and a way around br_netfilter. The
// rules come first, because they keep everybody else on the segment, other
// hosts' containers included, from those addresses (CVE-2020-8558).
func (was driven) openWays(host *netdev.Conn, r *endpoint.Record) (warnings []string, err error) {
	if len(r.Ports) == 0 {
		return nil, nil
	}
	bridge, err := host.Device(was.Bridge)
	if err != nil {
		return nil, err
	}
	b := new(netdev.Batch)
	b.PassLoopback(bridge)
	if err := host.Do(b); err != nil && !netdev.WithoutIPv6(err) {
		return nil, err
	}
	return was.shortcut().Make(host, r)
}

// reopenWays is for a bridge or a br_netfilter that is younger than the
// container. An Add under way opens its own.
func reopenWays(host *netdev.Conn, r *endpoint.Record) error {
	if r.Phase != endpoint.Ready {
		return nil
	}
	was, err := drivenOf(r)
	if err != nil {
		return err
	}
	_, err = was.openWays(host, r)
	return err
}

// shortcut is the containers' way around br_netfilter. What is for the
// gateway's MAC is for this host's bridge alone.
func (was driven) shortcut() *attach.Shortcut {
	return &attach.Shortcut{Bridge: was.Bridge, Gateway: true}
}
