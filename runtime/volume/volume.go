// Package volume keeps named volumes and resolves what a container mounts:
// volumes, bind mounts and tmpfs.
package volume

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-net/berth/internal/words"
)

// ErrInvalid says that a name, path or option cannot be used.
var ErrInvalid = errors.New("not valid")

// Kind of a mount.
type Kind string

const (
	Bind   Kind = "bind"
	Volume Kind = "volume"
	Tmpfs  Kind = "tmpfs"
)

// Mount is one mount of a container.
type Mount struct {
	Kind      Kind   `json:"kind"`
	Source    string `json:"source,omitempty"` // of a bind, a path; of a volume, its name
	Target    string `json:"target"`           // absolute, in the container
	ReadOnly  bool   `json:"readOnly,omitempty"`
	Anonymous bool   `json:"anonymous,omitempty"` // a volume that is removed with its container
	Options   string `json:"options,omitempty"`   // of a tmpfs
}

const longestName = 128

// reserved are places that the container's own mounts take.
var reserved = []string{"/", "/proc", "/sys", "/dev"}

// Parse reads SRC:DST[:ro|rw], in which SRC is a path or a volume's name, or
// DST alone for an anonymous volume.
func Parse(arg string) (Mount, error) {
	parts := strings.Split(arg, ":")
	m := Mount{Kind: Bind}
	switch len(parts) {
	case 1:
		m = Anonymous(parts[0])
	case 2, 3:
		m.Source, m.Target = parts[0], parts[1]
	default:
		return m, fmt.Errorf("volume %q: %w: want SRC:DST[:ro]", arg, ErrInvalid)
	}
	if len(parts) == 3 {
		switch parts[2] {
		case "ro":
			m.ReadOnly = true
		case "rw":
		default:
			return m, fmt.Errorf("volume %q: %w: the options are ro and rw", arg, ErrInvalid)
		}
	}
	if m.Kind == Bind && !strings.HasPrefix(m.Source, "/") && !strings.HasPrefix(m.Source, ".") {
		m.Kind = Volume
	}
	if m.Kind == Bind {
		abs, err := filepath.Abs(m.Source)
		if err != nil {
			return m, fmt.Errorf("volume %q: %w", arg, err)
		}
		m.Source = abs
	}
	return m, m.Validate()
}

// ParseTmpfs reads DST[:OPTIONS], with the options of tmpfs(5).
func ParseTmpfs(arg string) (Mount, error) {
	target, options, _ := strings.Cut(arg, ":")
	m := Mount{Kind: Tmpfs, Target: target, Options: options}
	return m, m.Validate()
}

// Anonymous is a new volume for a path, with a name of its own.
func Anonymous(target string) Mount {
	var b [16]byte
	rand.Read(b[:])
	return Mount{Kind: Volume, Source: hex.EncodeToString(b[:]), Target: target, Anonymous: true}
}

// Validate refuses what cannot be mounted, before anything is made.
func (m Mount) Validate() error {
	if !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) != strings.TrimSuffix(m.Target, "/") || strings.ContainsRune(m.Target, 0) {
		return fmt.Errorf("mount at %q: %w: want a clean absolute path", m.Target, ErrInvalid)
	}
	for _, r := range reserved {
		if m.Target == r {
			return fmt.Errorf("mount at %q: %w: the container's own mount is there", m.Target, ErrInvalid)
		}
	}
	if m.Kind == Volume && !words.Name(m.Source, longestName) {
		return fmt.Errorf("volume name %q: %w: want 1 to 128 letters, digits, '_', '.' or '-', beginning with a letter or digit", m.Source, ErrInvalid)
	}
	return nil
}

// Store is the named volumes of one host.
type Store struct{ root string }

// At keeps volumes below the directory root.
func At(root string) *Store { return &Store{root: filepath.Join(root, "volumes")} }

// Path is the directory of a volume, whose name has been validated.
func (s *Store) Path(name string) string { return filepath.Join(s.root, name) }

// Ensure makes the volume where it is not there, and tells whether it did.
func (s *Store) Ensure(name string) (path string, created bool, err error) {
	if !words.Name(name, longestName) {
		return "", false, fmt.Errorf("volume name %q: %w", name, ErrInvalid)
	}
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return "", false, fmt.Errorf("create volume %s: %w", name, err)
	}
	path = s.Path(name)
	err = os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return path, false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("create volume %s: %w", name, err)
	}
	return path, true, nil
}

// Remove deletes a volume and what is in it. One that is not there is
// success.
func (s *Store) Remove(name string) error {
	if !words.Name(name, longestName) {
		return fmt.Errorf("volume name %q: %w", name, ErrInvalid)
	}
	if err := os.RemoveAll(s.Path(name)); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	return nil
}
