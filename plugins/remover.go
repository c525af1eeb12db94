package plugins

import "context"

// Remover is what a driver has besides when it keeps something on the host
// for a network without attachments, such as its bridge. Remove takes it away
// when the network itself ends, leaves what berth did not make, and succeeds
// when nothing is there.
type Remover interface {
	Remove(ctx context.Context, net *Network) error
}
