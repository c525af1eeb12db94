package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-net/berth/state"
)

// DefaultRoot is where containers, images and volumes are kept.
const DefaultRoot = "/var/lib/berth"

// Store is the containers of one host.
type Store struct {
	root  string // outlives a reboot
	run   string // of this boot
	boot  string
	state *state.Store
}

// Open is the store of the host that the calling thread is on. It creates
// nothing.
func Open() (*Store, error) {
	s, err := state.Default()
	if err != nil {
		return nil, err
	}
	return At(DefaultRoot, s), nil
}

// At is a store with its parts elsewhere.
func At(root string, boot *state.Store) *Store {
	return &Store{root: root, run: boot.Dir(), boot: filepath.Base(boot.Dir()), state: boot}
}

// Root is where images and volumes are, too.
func (s *Store) Root() string { return s.root }

func (s *Store) containers() string        { return filepath.Join(s.root, "containers") }
func (s *Store) names() string             { return filepath.Join(s.root, "names") }
func (s *Store) dir(id string) string      { return filepath.Join(s.containers(), id) }
func (s *Store) netns(id string) string    { return filepath.Join(s.run, "netns", id) }
func (s *Store) sandboxes() string         { return filepath.Join(s.run, "containers") } // libcontainer's
func (s *Store) lockPath(id string) string { return filepath.Join(s.dir(id), "lock") }

// Create records a container that has not been started, and returns it with
// its lock held. Config.ID is chosen here, and a Config.Name where it is
// empty. A name that another container has is ErrNameTaken.
func (s *Store) Create(cfg Config) (*Container, *Lock, error) {
	cfg.ID = newID()
	if cfg.Name == "" {
		cfg.Name = "berth-" + cfg.ID[:8]
	}
	if cfg.Hostname == "" {
		cfg.Hostname = shortID(cfg.ID)
	}
	if err := cfg.validate(); err != nil {
		return nil, nil, err
	}
	c := &Container{Config: cfg, store: s}
	if err := os.MkdirAll(c.Dir(), 0o700); err != nil {
		return nil, nil, fmt.Errorf("create container %s: %w", cfg.Name, err)
	}
	lock, err := acquire(s.lockPath(c.ID))
	if err == nil {
		err = s.record(c)
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(c.Dir()), lock.Release())
	}
	return c, lock, nil
}

func (s *Store) record(c *Container) error {
	if err := writeJSON(filepath.Join(c.Dir(), "config.json"), c.Config); err != nil {
		return err
	}
	if err := c.setState(State{Status: Created, BootID: s.boot}); err != nil {
		return err
	}
	return s.claimName(c)
}

// claimName makes the symbolic link NAME → ID, which the kernel makes once.
// A link whose container has gone is what a crash left.
func (s *Store) claimName(c *Container) error {
	if err := os.MkdirAll(s.names(), 0o700); err != nil {
		return fmt.Errorf("claim container name %s: %w", c.Name, err)
	}
	unlock, err := acquire(filepath.Join(s.names(), ".lock"))
	if err != nil {
		return err
	}
	defer unlock.Release()
	link := filepath.Join(s.names(), c.Name)
	if owner, err := os.Readlink(link); err == nil {
		if _, err := s.load(owner); err == nil {
			return fmt.Errorf("container name %s: %w by %s", c.Name, ErrNameTaken, shortID(owner))
		}
		if err := os.Remove(link); err != nil {
			return fmt.Errorf("claim container name %s: %w", c.Name, err)
		}
	}
	if err := os.Symlink(c.ID, link); err != nil {
		return fmt.Errorf("claim container name %s: %w", c.Name, err)
	}
	return nil
}

func (s *Store) releaseName(c *Container) error {
	link := filepath.Join(s.names(), c.Name)
	owner, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) || err == nil && owner != c.ID {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release container name %s: %w", c.Name, err)
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release container name %s: %w", c.Name, err)
	}
	return nil
}

func (s *Store) load(id string) (*Container, error) {
	if !validID(id) {
		return nil, fmt.Errorf("container %q: %w", id, ErrNotFound)
	}
	c := &Container{store: s}
	err := readJSON(filepath.Join(s.dir(id), "config.json"), &c.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
	}
	return c, err
}

// Get finds a container by its name, its id or an id's beginning that no
// other has, in that order.
func (s *Store) Get(ref string) (*Container, error) {
	if validName(ref) {
		if id, err := os.Readlink(filepath.Join(s.names(), ref)); err == nil {
			if c, err := s.load(id); err == nil && c.Name == ref {
				return c, nil
			}
		}
	}
	if ref == "" || strings.Trim(ref, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("container %q: %w", ref, ErrNotFound)
	}
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, ref) })
	switch len(ids) {
	case 0:
		return nil, fmt.Errorf("container %q: %w", ref, ErrNotFound)
	case 1:
		return s.load(ids[0])
	}
	return nil, fmt.Errorf("container %q: %w: %s and %s", ref, ErrAmbiguous, shortID(ids[0]), shortID(ids[1]))
}

// List is all containers, the newest first. One that goes away meanwhile is
// left out.
func (s *Store) List() ([]*Container, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	var all []*Container
	for _, id := range ids {
		c, err := s.load(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *Container) int { return b.Created.Compare(a.Created) })
	return all, nil
}

func (s *Store) ids() ([]string, error) {
	entries, err := os.ReadDir(s.containers())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if validID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// State is how the container is now. What the record says of a supervisor
// that has died is put right: Dead.
func (c *Container) State() (State, error) {
	st, err := c.recordedState()
	if err != nil || st.Status == Exited {
		return st, err
	}
	if c.supervised() {
		return st, nil
	}
	// It may have ended between the two looks.
	if st, err = c.recordedState(); err == nil && st.Status != Exited {
		st.Status, st.PID, st.ExitCode = Dead, 0, 128+9
	}
	return st, err
}

func (c *Container) recordedState() (State, error) {
	var st State
	err := readJSON(filepath.Join(c.Dir(), "state.json"), &st)
	if errors.Is(err, fs.ErrNotExist) {
		return st, fmt.Errorf("container %s: %w", c.Name, ErrNotFound)
	}
	return st, err
}

func (c *Container) setState(st State) error {
	return writeJSON(filepath.Join(c.Dir(), "state.json"), st)
}

// writeJSON replaces the file: a reader and a crash find the old one or the
// new one, never a part.
func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}
