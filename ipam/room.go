package ipam

import (
	"errors"
	"fmt"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// errTrial undoes a transaction that was only to see whether it succeeds.
var errTrial = errors.New("only a trial")

// Room fails with ErrExhausted and plugins.CodeNotAvailable where the next
// container of the network would get no address. Where a dead one holds an
// address there is room: an Add ends it.
func Room(store *state.Store, c *Config, network string) error {
	nobody := endpoint.Key{Network: network} // no container has an empty id
	err := store.Update(func(tx *state.Tx) error {
		if _, err := lease(tx, c, Request{Key: nobody}); err != nil && !deadHold(tx, network, err) {
			return fmt.Errorf("network %s: %w", network, err)
		}
		return errTrial
	})
	switch {
	case errors.Is(err, errTrial):
		return nil
	case errors.Is(err, ErrExhausted):
		return &plugins.Error{Code: plugins.CodeNotAvailable, Err: err}
	}
	return err
}

func deadHold(tx *state.Tx, network string, why error) bool {
	if !errors.Is(why, ErrExhausted) {
		return false
	}
	held, err := Holdings(tx, network)
	return err == nil && slices.ContainsFunc(held, func(h Holding) bool { return !h.Alive() })
}
