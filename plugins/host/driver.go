// Package host lets a container share the host's network namespace.
package host

import (
	"context"
	"errors"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// Driver implements plugins.Driver.
type Driver struct{ store *state.Store }

// New is the driver with its records in store.
func New(store *state.Store) *Driver { return &Driver{store: store} }

func (d *Driver) Add(ctx context.Context, req *plugins.Request) (*plugins.Result, error) {
	return nil, errors.ErrUnsupported
}

func (d *Driver) Check(ctx context.Context, req *plugins.Request) error {
	return errors.ErrUnsupported
}

func (d *Driver) Del(ctx context.Context, req *plugins.Request) error {
	return errors.ErrUnsupported
}

func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	return errors.ErrUnsupported
}

func (d *Driver) Status(ctx context.Context, net *plugins.Network) error {
	return errors.ErrUnsupported
}
