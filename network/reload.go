package network

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/plugins/table"
)

// policied is a driver whose attachments are in the packet filter. Policies
// are those of its records among the given ones, by the filter's backend.
type policied interface {
	Policies(records []*endpoint.Record) (map[string][]firewall.Attachment, error)
}

// reloader is a driver that has more in the packet filter than policies.
type reloader interface {
	Reload(records []*endpoint.Record) error
}

// Reloaded is what Reload has put into the packet filter.
type Reloaded struct{ Networks, Attachments, Ports int }

func (r *Reloaded) count(list []firewall.Attachment) {
	seen := map[string]bool{}
	for i := range list {
		seen[list[i].Network.Bridge] = true
		for j := range list[i].Endpoint.Ports {
			r.Ports += max(1, int(list[i].Endpoint.Ports[j].Count))
		}
	}
	r.Networks += len(seen)
	r.Attachments += len(list)
}

// Reload makes the packet filter anew from the records, after something else
// has flushed it. Connections that are open stay. Each backend changes in one
// transaction; a record that does not decode is left out and told.
func (c *Catalogue) Reload(context.Context) (done Reloaded, _ error) {
	records, err := c.Endpoints("")
	if err != nil {
		return done, err
	}
	records = slices.DeleteFunc(records, func(r *endpoint.Record) bool { return r.Phase != endpoint.Ready || !r.Alive() })
	all := map[string][]firewall.Attachment{"": nil}
	var errs []error
	for _, name := range ours {
		driver := table.Lookup(name, c.store)
		if d, ok := driver.(reloader); ok {
			errs = append(errs, d.Reload(records))
		}
		d, ok := driver.(policied)
		if !ok {
			continue
		}
		policies, err := d.Policies(records)
		errs = append(errs, err)
		for backend, list := range policies {
			all[backend] = append(all[backend], list...)
		}
	}
	// The default backend is one of the others by its own name.
	name, err := firewall.Default()
	if err != nil {
		return done, errors.Join(append(errs, err)...)
	}
	all[name] = append(all[name], all[""]...)
	delete(all, "")
	for _, backend := range slices.Sorted(maps.Keys(all)) {
		fw, err := firewall.Open(backend)
		if err == nil {
			err = fw.Rebuild(all[backend])
		}
		if err == nil {
			done.count(all[backend])
		}
		errs = append(errs, err)
	}
	return done, errors.Join(errs...)
}
