package overlay

import (
	"context"
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/state"
)

// filter puts what a network has in the packet filter besides its policies
// there: that an encrypted network stays in the mesh, and that the anycast
// gateway stays within the host.
func (was driven) filter() error {
	if was.Mesh != "" {
		if err := firewall.Seal(was.sealed()); err != nil {
			return err
		}
	}
	return firewall.KeepGateway(was.anycast())
}

// checkFilter fails with firewall.ErrMissing where filter's work is not whole.
func (was driven) checkFilter() error {
	if was.Mesh != "" {
		if err := firewall.CheckSealed(was.sealed()); err != nil {
			return err
		}
	}
	return firewall.CheckGateway(was.anycast())
}

// KeepFilter puts back what a record's network has in the packet filter, and
// tells whether something had removed it.
func KeepFilter(ctx context.Context, store *state.Store, r *endpoint.Record) (removed bool, err error) {
	was, err := drivenOf(r)
	if err != nil {
		return false, err
	}
	if err := was.checkFilter(); !errors.Is(err, firewall.ErrMissing) {
		return false, err
	}
	guard, err := store.Guard(ctx, guardName)
	if err != nil {
		return false, err
	}
	defer guard.Release()
	// The last container may just have left, and the rules with it.
	used := false
	if err := store.View(func(tx *state.Tx) error { used = endpoint.Any(tx, r.Network); return nil }); err != nil || !used {
		return false, err
	}
	return true, was.filter()
}
