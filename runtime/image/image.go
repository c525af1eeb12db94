// Package image turns a reference to an image into layers on this host.
//
// A reference is that of a registry, "oci:DIR[:TAG]" for an OCI image layout,
// "docker-archive:FILE" for what docker save writes, or "rootfs:DIR" for a
// directory that is the root file system itself.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Errors that callers tell apart.
var (
	ErrInvalid  = errors.New("not valid")
	ErrNotFound = errors.New("no such image")
	ErrDigest   = errors.New("digest differs")
)

// Image is an image that is on this host.
type Image struct {
	Ref    string   `json:"ref"`
	Digest string   `json:"digest,omitempty"` // of the manifest, "sha256:…"; empty for a rootfs
	Layers []string `json:"layers"`           // directories in overlayfs form, the lowest first
	Config Config   `json:"config"`
}

// Config is what an image says of how to run it.
type Config struct {
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Env          []string          `json:"env,omitempty"`
	WorkingDir   string            `json:"workingDir,omitempty"`
	User         string            `json:"user,omitempty"`
	StopSignal   string            `json:"stopSignal,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"`      // paths, sorted
	ExposedPorts []string          `json:"exposedPorts,omitempty"` // "80/tcp", sorted
	Labels       map[string]string `json:"labels,omitempty"`
}

// Pull says when a registry is asked.
type Pull string

const (
	PullMissing Pull = "missing" // when the image is not on this host
	PullAlways  Pull = "always"
	PullNever   Pull = "never"
)

// Store is the images of one host.
type Store struct {
	root   string
	limits Limits
}

// At keeps images below the directory root.
func At(root string) *Store {
	return &Store{root: filepath.Join(root, "images"), limits: DefaultLimits}
}

// Get returns the image, after having brought it here where it is not.
func (s *Store) Get(ctx context.Context, ref string, pull Pull) (*Image, error) {
	img, err := s.get(ctx, ref, pull)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	return img, nil
}

func (s *Store) get(ctx context.Context, ref string, pull Pull) (*Image, error) {
	kind, rest, _ := strings.Cut(ref, ":")
	switch kind {
	case "rootfs":
		return fromRootfs(ref, rest)
	case "oci":
		img, err := openLayout(rest)
		if err != nil {
			return nil, err
		}
		return s.add(ref, img)
	case "docker-archive":
		img, err := openArchive(rest)
		if err != nil {
			return nil, err
		}
		return s.add(ref, img)
	}
	return s.fromRegistry(ctx, ref, pull)
}

func (s *Store) fromRegistry(ctx context.Context, ref string, pull Pull) (*Image, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if pull != PullAlways {
		if known := s.known(parsed.Name()); known != nil {
			known.Ref = ref
			return known, nil
		}
	}
	if pull == PullNever {
		return nil, fmt.Errorf("%w on this host", ErrNotFound)
	}
	img, err := openRemote(ctx, parsed)
	if err != nil {
		return nil, err
	}
	added, err := s.add(ref, img)
	if err != nil {
		return nil, err
	}
	return added, s.remember(parsed.Name(), added)
}

// add verifies an image and unpacks its layers.
func (s *Store) add(ref string, img v1.Image) (*Image, error) {
	config, digest, err := verified(img)
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	dirs, err := s.unpackAll(layers, config.RootFS.DiffIDs)
	if err != nil {
		return nil, err
	}
	return &Image{Ref: ref, Digest: digest.String(), Layers: dirs, Config: configOf(config.Config)}, nil
}

func configOf(c v1.Config) Config {
	return Config{
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, WorkingDir: c.WorkingDir, User: c.User,
		StopSignal: c.StopSignal, Volumes: slices.Sorted(maps.Keys(c.Volumes)),
		ExposedPorts: slices.Sorted(maps.Keys(c.ExposedPorts)), Labels: c.Labels,
	}
}

func (s *Store) refPath(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return filepath.Join(s.root, "refs", hex.EncodeToString(sum[:])+".json")
}

// known is the image that a reference meant when it was last pulled, or nil.
func (s *Store) known(canonical string) *Image {
	raw, err := os.ReadFile(s.refPath(canonical))
	if err != nil {
		return nil
	}
	img := new(Image)
	if json.Unmarshal(raw, img) != nil {
		return nil
	}
	for _, dir := range img.Layers {
		if _, err := os.Stat(dir); err != nil {
			return nil
		}
	}
	return img
}

func (s *Store) remember(canonical string, img *Image) error {
	raw, err := json.Marshal(img)
	if err != nil {
		return err
	}
	path := s.refPath(canonical)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	_, err = temp.Write(raw)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

func fromRootfs(ref, dir string) (*Image, error) {
	abs, err := filepath.Abs(dir)
	if err != nil || dir == "" {
		return nil, fmt.Errorf("%w: want rootfs:DIR", ErrInvalid)
	}
	abs, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() || abs == "/" {
		return nil, fmt.Errorf("%w: want a directory, and not the host's root", ErrInvalid)
	}
	return &Image{Ref: ref, Layers: []string{abs}}, nil
}
