package attach

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// tryGuard takes an attachment for an Add. A second one of the same key is
// turned away: two at once would each undo what the other does.
func tryGuard(store *state.Store, key endpoint.Key) (*state.Guard, error) {
	g, err := store.TryGuard(guardName(key))
	if errors.Is(err, state.ErrBusy) {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "attach %s: %w", key, state.ErrBusy)
	}
	return g, err
}

// held is the context's key for the attachment that the caller guards.
type held struct{}

// withGuard tells End that its caller holds the guard of the key.
func withGuard(ctx context.Context, key endpoint.Key) context.Context {
	return context.WithValue(ctx, held{}, key)
}

// guard waits for an attachment, and returns what lets go of it.
func guard(ctx context.Context, store *state.Store, key endpoint.Key) (release func(), err error) {
	if ctx.Value(held{}) == key {
		return func() {}, nil
	}
	g, err := store.Guard(ctx, guardName(key))
	if errors.Is(err, state.ErrBusy) {
		return nil, plugins.Errorf(plugins.CodeTryAgain, "detach %s: %w", key, err)
	}
	if err != nil {
		return nil, fmt.Errorf("detach %s: %w", key, err)
	}
	return g.Release, nil
}

func guardName(key endpoint.Key) string { return key.String() }
