package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-net/berth/agent/cluster"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/plugins/overlay"
)

// keepNetworks makes the networks again that containers here are on and etcd
// has lost. Where the cluster has another network of the name by now, that one
// counts: the containers here go on among themselves, but nobody is told of
// them, and no others join them until they are gone.
func (a *Agent) keepNetworks(ctx context.Context) error {
	vnis, err := a.vnis()
	if err != nil {
		return err
	}
	errs := []error{a.cluster.KeepNetworks(ctx, func(name string) bool { return vnis[name] != 0 })}
	for name := range a.noteStrangers(vnis) {
		errs = append(errs, a.strange(a.cluster.View().Network(name)))
	}
	return errors.Join(errs...)
}

// vnis are those of the cluster's networks that this host's records name.
func (a *Agent) vnis() (map[string]uint32, error) {
	records, err := attach.Records(a.Store, "")
	vnis := map[string]uint32{}
	for _, r := range records {
		if overlay.Clustered(r) {
			vnis[r.Network] = overlay.VNI(r)
		}
	}
	return vnis, err
}

// noteStrangers keeps those that are not the cluster's of that name.
func (a *Agent) noteStrangers(vnis map[string]uint32) map[string]uint32 {
	strangers := map[string]uint32{}
	for name, vni := range vnis {
		if n := a.cluster.View().Network(name); n != nil && n.VNI != vni {
			strangers[name] = vni
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.strangers = strangers
	return strangers
}

// strange fails where containers here are on another network of the name.
func (a *Agent) strange(n *cluster.Network) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if vni := a.strangers[n.Name]; vni != 0 && vni != n.VNI {
		return fmt.Errorf("network %s: its containers on host %s are on VNI %d, and the cluster's network of that name has %d: restart them", n.Name, a.Name, vni, n.VNI)
	}
	return nil
}

// checkStrangers is strange for an ADD, before which the last of them may have
// gone.
func (a *Agent) checkStrangers(n *cluster.Network) error {
	if a.strange(n) == nil {
		return nil
	}
	vnis, err := a.vnis()
	if err != nil {
		return err
	}
	a.noteStrangers(vnis)
	return a.strange(n)
}
