package ipam

import (
	"context"

	"github.com/berth-net/berth/plugins"
)

// GC frees the leases of attachments that are no longer valid.
func (d *Driver) GC(ctx context.Context, req *plugins.GCRequest) error {
	return nil
}
