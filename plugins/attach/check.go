package attach

import (
	"errors"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// Recorded begins a driver's Check: it reads the attachment's record and, where
// the caller gave a prevResult, makes sure that it tells of this attachment.
func Recorded(store *state.Store, req *plugins.Request) (*endpoint.Record, error) {
	key := keyOf(req)
	var record *endpoint.Record
	err := store.View(func(tx *state.Tx) (err error) {
		record, err = endpoint.Get(tx, key)
		return err
	})
	switch {
	case errors.Is(err, endpoint.ErrNotFound), err == nil && record == nil:
		return nil, plugins.Errorf(plugins.CodeUnknownContainer, "check %s: %w", key, endpoint.ErrNotFound)
	case err != nil:
		return nil, err
	case record.Phase != endpoint.Ready:
		return nil, plugins.Errorf(plugins.CodeInternal, "check %s: its ADD has not ended; delete it and add it again", key)
	}
	return record, checkPrev(req.Prev, record.Result)
}

// checkPrev compares names and addresses only: a later plugin of the chain may
// have changed the rest.
func checkPrev(prev, made *plugins.Result) error {
	if prev == nil || made == nil {
		return nil
	}
	for _, i := range made.Interfaces {
		if !slices.ContainsFunc(prev.Interfaces, func(p plugins.Interface) bool { return p.Name == i.Name && p.Sandbox == i.Sandbox }) {
			return plugins.Errorf(plugins.CodeInvalidConfig, "prevResult.interfaces: %s is missing, which ADD made", i.Name)
		}
	}
	for _, ip := range made.IPs {
		if !slices.ContainsFunc(prev.IPs, func(p plugins.IP) bool { return p.Address == ip.Address }) {
			return plugins.Errorf(plugins.CodeInvalidConfig, "prevResult.ips: %s is missing, which ADD gave", ip.Address)
		}
	}
	return nil
}
