package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/state"
)

// DefaultDir is where CNI runtimes look for networks.
const DefaultDir = "/etc/cni/net.d"

// minIDLen is how much of an id stands for it: what "ls" prints.
const minIDLen = 12

// defaultPath is where the plugins of others are looked for: the directories
// of the CNI project, of Debian, Fedora and Arch.
var defaultPath = []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni", "/usr/local/libexec/cni"}

// Options say where a catalogue's parts are; zero values mean the host's.
type Options struct {
	Dir        string       // of conflists
	Path       []string     // where the plugins of others are looked for
	Store      *state.Store // records of this boot
	Containers Containers   // of berth's own runtime; nil: none
	Pools      []ipam.Pool  // where subnets are carved from; of a family without one: the default
}

// Catalogue is the networks of one host.
type Catalogue struct {
	dir        string
	path       []string
	store      *state.Store
	containers Containers
	pools      []ipam.Pool
}

// Open is the catalogue of the host that the calling thread is on. It
// creates nothing.
func Open(o Options) (*Catalogue, error) {
	c := &Catalogue{dir: o.Dir, path: o.Path, store: o.Store, containers: o.Containers, pools: o.Pools}
	if c.dir == "" {
		c.dir = DefaultDir
	}
	if c.path == nil {
		c.path = defaultPath
	}
	if c.store == nil {
		store, err := state.Default()
		if err != nil {
			return nil, err
		}
		c.store = store
	}
	return c, nil
}

// Container is what the catalogue must know of a runtime's container.
type Container struct {
	ID       string
	Name     string
	Hostname string   // where it is a name of its own
	NetNS    string   // path; empty while it does not run
	Networks []string // it joins these when it is started
}

// Containers is the runtime's side of the catalogue.
type Containers interface {
	// Container finds one by name, id or an id's unambiguous beginning, or
	// fails with ErrNoContainer.
	Container(ctx context.Context, ref string) (Container, error)

	// Containers lists all, those that are stopped included.
	Containers(ctx context.Context) ([]Container, error)
}

// Get finds a network by name, or by an id's beginning of at least twelve
// digits, or fails with ErrNoNetwork. A built-in name wins over a file's.
func (c *Catalogue) Get(name string) (*Network, error) {
	networks, broken := c.List()
	for _, n := range networks {
		if n.Name == name {
			return n, nil
		}
	}
	if len(name) >= minIDLen {
		for _, n := range networks {
			if strings.HasPrefix(n.ID(), name) {
				return n, nil
			}
		}
	}
	// A file that could not be read may be the one that was asked for.
	return nil, errors.Join(fmt.Errorf("network %q: %w", name, ErrNoNetwork), broken)
}

// List is all networks in the order of their names. Files that could not be
// read do not hide the others: they are the error, beside the list. Of files
// that have one name the first counts, as for other CNI runtimes.
func (c *Catalogue) List() ([]*Network, error) {
	networks, err := c.builtins()
	errs := []error{err}
	files, err := libcni.ConfFiles(c.dir, []string{".conflist", ".conf", ".json"})
	if err != nil {
		errs = append(errs, fmt.Errorf("list networks: %w", err))
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasPrefix(filepath.Base(f), ".") })
	for _, file := range files {
		n, err := readFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err == nil {
			err = shadowed(networks, n)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		networks = append(networks, n)
	}
	slices.SortFunc(networks, func(a, b *Network) int { return strings.Compare(a.Name, b.Name) })
	return networks, errors.Join(errs...)
}

func shadowed(networks []*Network, n *Network) error {
	for _, other := range networks {
		if other.Name == n.Name {
			where := other.File
			if other.Origin == Builtin {
				where = "built in"
			}
			return fmt.Errorf("read network %s: its name %q is that of another one (%s), which is used instead", n.File, n.Name, where)
		}
	}
	return nil
}
