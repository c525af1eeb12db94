package overlay

import (
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
)

// Policies are the attachments of this driver's records, for a rebuild of the
// packet filter, by backend.
func (d *Driver) Policies(records []*endpoint.Record) (map[string][]firewall.Attachment, error) {
	var all []firewall.Attachment
	var errs []error
	for _, r := range records {
		if r.Driver != "overlay" {
			continue
		}
		was, err := drivenOf(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, firewall.Attachment{Network: *was.policy(), Endpoint: *was.member(r)})
	}
	return map[string][]firewall.Attachment{"": all}, errors.Join(errs...)
}

// Reload puts back what the driver has in the packet filter besides: that the
// anycast gateways stay within the host, and encrypted networks in the mesh.
func (d *Driver) Reload(records []*endpoint.Record) error {
	seen := map[string]bool{}
	var errs []error
	for _, r := range records {
		if r.Driver != "overlay" || seen[r.Network] {
			continue
		}
		was, err := drivenOf(r)
		if err == nil {
			err = was.filter()
		}
		seen[r.Network] = true
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
