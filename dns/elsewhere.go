package dns

import (
	"context"
	"net/netip"
)

// Elsewhere knows the endpoints that other hosts have on a network. A network
// of this host alone has none. Names are in small letters.
type Elsewhere interface {
	Named(ctx context.Context, network, name string) []*Endpoint
	At(ctx context.Context, network string, address netip.Addr) *Endpoint
}

// NamesOf are all names in small letters that lead to an endpoint; an
// Elsewhere that answers by one of them agrees with this host's own answers.
func NamesOf(e *Endpoint) []string { return e.names() }
