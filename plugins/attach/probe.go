package attach

import (
	"errors"
	"fmt"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// maxTaken is how many addresses an Add finds taken before it gives up: each
// costs a third of a second.
const maxTaken = 8

// Probe makes sure that nobody on the segment has the addresses, where the
// configuration asks for that. The device is up. One that somebody has is
// noted and given up for another, unless it was asked for or is reserved;
// then, or when nothing is left, it fails with CodeTryAgain. Configure probes
// what has not been: who derives something from the addresses calls it before.
func (d *Device) Probe() error {
	if d.probed || !d.a.Probes() {
		return nil
	}
	for range maxTaken {
		err := d.a.Container.Do(func() error { return netdev.Probe(d.Device, d.a.Record.Addresses) })
		var taken *netdev.TakenError
		if !errors.As(err, &taken) {
			d.probed = err == nil
			return err
		}
		if d.pinned {
			return plugins.Errorf(plugins.CodeTryAgain, "%w; exclude it in ipam.exclude if it stays", err)
		}
		if moveErr := d.a.moveFrom(taken); moveErr != nil {
			return plugins.Errorf(plugins.CodeTryAgain, "%w; exclude it in ipam.exclude if it stays: %w", err, moveErr)
		}
	}
	return plugins.Errorf(plugins.CodeTryAgain, "probe addresses of %s: %w: so are %d in a row, the last of them %s",
		d.Name, netdev.ErrAddressTaken, len(d.a.avoid), d.a.avoid[len(d.a.avoid)-1])
}

// Probes tells whether the addresses are to be probed.
func (a *Attachment) Probes() bool { return a.IPAM != nil && a.IPAM.Probe && a.IPAM.Embedded() }

// moveFrom leases another address in place of the one that is taken. The note
// of it stays also where there is none.
func (a *Attachment) moveFrom(taken *netdev.TakenError) error {
	a.avoid = append(a.avoid, taken.Addr)
	note := ipam.Conflict{Address: taken.Addr, MAC: endpoint.MAC(taken.MAC), Seen: time.Now().UTC().Truncate(time.Second)}
	if err := a.store.Update(func(tx *state.Tx) error { return ipam.Note(tx, a.req.Name, note) }); err != nil {
		return err
	}
	if err := a.store.Update(a.lease); err != nil {
		return fmt.Errorf("another address in its place: %w", err)
	}
	return nil
}
