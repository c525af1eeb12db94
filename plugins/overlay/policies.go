package overlay

import (
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/netdev"
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
// anycast gateways stay within the host, and encrypted networks in the mesh; and
// opens the ways around a br_netfilter that another tool has switched on since.
func (d *Driver) Reload(records []*endpoint.Record) error {
	host, err := netdev.Dial()
	if err != nil {
		return err
	}
	defer host.Close()
	seen := map[string]bool{}
	var errs []error
	for _, r := range records {
		if r.Driver != "overlay" {
			continue
		}
		errs = append(errs, reopenWays(host, r))
		if seen[r.Network] {
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
