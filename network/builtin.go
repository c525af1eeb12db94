package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/berth-net/berth/state"
)

// DefaultBridge is the device of the built-in network "bridge".
const DefaultBridge = "berth0"

// builtinNames exist without being created. They are not files, so that a
// network nobody asked for never becomes some runtime's default, which is the
// first file of the directory.
var builtinNames = []string{"bridge", "host", "none"}

var builtinBucket = []byte("builtin networks")

func isBuiltin(name string) bool {
	for _, n := range builtinNames {
		if n == name {
			return true
		}
	}
	return false
}

// builtins lists the built-in networks. The subnet of "bridge" is chosen when
// it is first used, and until then it has none.
func (c *Catalogue) builtins() ([]*Network, error) {
	var networks []*Network
	for _, name := range builtinNames {
		raw, err := c.storedBuiltin(name)
		if err != nil {
			return networks, err
		}
		if raw == nil {
			if raw, err = builtinSpec(name, nil).encode(); err != nil {
				return networks, err
			}
		}
		n, err := builtin(raw)
		if err != nil {
			return networks, err
		}
		networks = append(networks, n)
	}
	return networks, nil
}

func builtinSpec(name string, subnets []Subnet) *conflist {
	spec := CreateSpec{Name: name, Driver: name, Subnets: subnets}.withDefaults()
	if name == "bridge" {
		spec.Options = map[string]string{"bridge": DefaultBridge}
	}
	list, err := spec.conflist()
	if err != nil {
		panic(err) // a constant is wrong: every test sees it
	}
	list.Berth.Options = nil
	return list
}

func builtin(raw []byte) (*Network, error) {
	list, err := parse(raw, true, "")
	if err != nil {
		return nil, fmt.Errorf("built-in network: %w", err)
	}
	n, err := describe(list)
	if err != nil {
		return nil, fmt.Errorf("built-in network: %w", err)
	}
	n.Origin = Builtin
	return n, nil
}

func (c *Catalogue) storedBuiltin(name string) (raw []byte, err error) {
	err = c.store.View(func(tx *state.Tx) error {
		if b := tx.Bucket(builtinBucket); b != nil {
			raw = append(raw, b.Get([]byte(name))...)
		}
		return nil
	})
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil // whoever may not read the state may still list
	}
	return raw, err
}

// materialize gives the built-in bridge its subnet, the same until the host
// is booted again.
func (c *Catalogue) materialize(n *Network) (*Network, error) {
	if n.Origin != Builtin || n.Driver != "bridge" || len(n.Subnets) > 0 {
		return n, nil
	}
	var made *Network
	err := c.locked(func() error {
		raw, err := c.storedBuiltin(n.Name)
		if err != nil {
			return err
		}
		if raw == nil {
			if raw, err = c.chooseBuiltin(n.Name); err != nil {
				return err
			}
		}
		made, err = builtin(raw)
		return err
	})
	return made, err
}

func (c *Catalogue) chooseBuiltin(name string) (json.RawMessage, error) {
	subnet, err := c.carve(false)
	if err != nil {
		return nil, err
	}
	raw, err := builtinSpec(name, []Subnet{{Subnet: subnet}}).encode()
	if err != nil {
		return nil, err
	}
	err = c.store.Update(func(tx *state.Tx) error {
		b, err := tx.CreateBucketIfNotExists(builtinBucket)
		if err != nil {
			return err
		}
		return b.Put([]byte(name), raw)
	})
	if err != nil {
		return nil, fmt.Errorf("record network %s: %w", name, err)
	}
	return raw, nil
}
