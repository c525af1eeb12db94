// Package image turns a reference to an image into layers on this host.
//
// A reference is that of a registry, "oci:DIR[:TAG]" for an OCI image layout,
// "docker-archive:FILE" for what docker save writes, or "rootfs:DIR" for a
// directory that is the root file system itself.
package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Errors that callers tell apart.
var (
	ErrInvalid  = errors.New("not valid")
	ErrNotFound = errors.New("no such image")
)

// Image is an image that is on this host.
type Image struct {
	Ref    string
	Digest string   // of the manifest, "sha256:…"; empty for a rootfs
	Layers []string // directories in overlayfs form, the lowest first
	Config Config
}

// Config is what an image says of how to run it.
type Config struct {
	Entrypoint, Cmd, Env []string
	WorkingDir, User     string
	StopSignal           string
	Volumes              []string // paths, sorted
	ExposedPorts         []string // "80/tcp", sorted
	Labels               map[string]string
}

// Store is the images of one host.
type Store struct{ root string }

// At keeps images below the directory root.
func At(root string) *Store { return &Store{root: filepath.Join(root, "images")} }

// Get returns the image, after having brought it here where it is not.
func (s *Store) Get(ctx context.Context, ref string) (*Image, error) {
	kind, rest, _ := strings.Cut(ref, ":")
	switch kind {
	case "rootfs":
		return fromRootfs(ref, rest)
	}
	return nil, fmt.Errorf("image %q: %w", ref, errors.ErrUnsupported)
}

func fromRootfs(ref, dir string) (*Image, error) {
	abs, err := filepath.Abs(dir)
	if err != nil || dir == "" {
		return nil, fmt.Errorf("image %q: %w: want rootfs:DIR", ref, ErrInvalid)
	}
	abs, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	if !info.IsDir() || abs == "/" {
		return nil, fmt.Errorf("image %q: %w: want a directory, and not the host's root", ref, ErrInvalid)
	}
	return &Image{Ref: ref, Layers: []string{abs}}, nil
}
