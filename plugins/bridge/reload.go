package bridge

import (
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/state"
)

// Reload rebuilds the packet filter from the records, each backend in one
// transaction, whatever somebody has flushed meanwhile.
func (d *Driver) Reload() error {
	var records []*endpoint.Record
	err := d.store.View(func(tx *state.Tx) (err error) {
		records, err = endpoint.List(tx, "")
		return err
	})
	if err != nil {
		return err
	}
	all, err := Policies(records)
	errs := []error{err}
	for backend, attachments := range all {
		fw, err := firewall.Open(backend)
		if err == nil {
			err = fw.Rebuild(attachments)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
