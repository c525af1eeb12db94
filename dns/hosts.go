package dns

import (
	"fmt"
	"slices"
	"strings"
)

// Hosts are the lines of hosts(5) for the endpoints of this host that the
// client could ask for: for a client that gets no Listener.
func (r *Resolver) Hosts(c Client) (string, error) {
	id, err := c.NetNS.ID()
	if err != nil {
		return "", err
	}
	s, err := r.names.snapshot()
	if err != nil {
		return "", err
	}
	z := s.zone(id)
	if c.Host {
		z = s.everything()
	}
	var b strings.Builder
	for _, e := range s.all {
		seen := slices.ContainsFunc(z.networks, func(n *index) bool { return n.network == e.Network })
		if !seen || !e.Alive() {
			continue
		}
		for _, p := range e.Addresses {
			fmt.Fprintf(&b, "%s\t%s\n", p.Addr(), strings.Join(distinct(e.names()), " "))
		}
	}
	return b.String(), nil
}

func distinct(names []string) (list []string) {
	for _, name := range names {
		if name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
