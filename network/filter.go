package network

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Filters choose networks. Of the values of one key any may match, and every
// key must.
type Filters map[string][]string

var filterKeys = map[string]func(*Network, string) bool{
	"driver": func(n *Network, v string) bool { return n.Driver == v },
	"id":     func(n *Network, v string) bool { return strings.HasPrefix(n.ID(), v) },
	"label":  matchLabel,
	"name":   func(n *Network, v string) bool { return strings.Contains(n.Name, v) },
	"type": func(n *Network, v string) bool {
		return (n.Origin == Builtin) == (v == "builtin") && (v == "builtin" || v == "custom")
	},
}

// ParseFilters reads KEY=VALUE as "docker network ls --filter" has them.
func ParseFilters(args []string) (Filters, error) {
	f := Filters{}
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		if _, known := filterKeys[key]; !known || !found || value == "" {
			return nil, fmt.Errorf("filter %q: %w: use KEY=VALUE with one of the keys %s", arg, ErrInvalid,
				strings.Join(slices.Sorted(maps.Keys(filterKeys)), ", "))
		}
		f[key] = append(f[key], value)
	}
	return f, nil
}

// Match tells whether a network has what the filters ask for. A network must
// have every label that is given, as with Docker.
func (f Filters) Match(n *Network) bool {
	for key, values := range f {
		one := func(v string) bool { return filterKeys[key](n, v) }
		if key == "label" {
			if slices.ContainsFunc(values, func(v string) bool { return !one(v) }) {
				return false
			}
			continue
		}
		if !slices.ContainsFunc(values, one) {
			return false
		}
	}
	return true
}

func matchLabel(n *Network, v string) bool {
	key, want, valued := strings.Cut(v, "=")
	have, ok := n.Labels[key]
	return ok && (!valued || have == want)
}
