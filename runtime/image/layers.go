package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/flock"
)

// unpackAll brings the layers of an image to this host and returns their
// directories, the lowest first.
func (s *Store) unpackAll(layers []v1.Layer, diffIDs []v1.Hash) ([]string, error) {
	if len(layers) != len(diffIDs) {
		return nil, fmt.Errorf("image has %d layers and %d digests of them: %w", len(layers), len(diffIDs), ErrInvalid)
	}
	dirs := make([]string, len(layers))
	var group errgroup.Group
	group.SetLimit(3)
	for i := range layers {
		group.Go(func() (err error) {
			dirs[i], err = s.layer(layers[i], diffIDs[i])
			return err
		})
	}
	return dirs, group.Wait()
}

// layer unpacks a layer where no image before has. Its directory is named by
// the digest of the uncompressed archive, which is compared, and appears
// under its name only when it is complete.
func (s *Store) layer(layer v1.Layer, diffID v1.Hash) (string, error) {
	dir, err := s.layerDir(diffID)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", fmt.Errorf("unpack layer %s: %w", diffID, err)
	}
	unlock, err := flock.Take(dir+".lock", unix.O_CREAT, unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	part := dir + ".part"
	if err := s.unpackTo(part, layer, diffID); err != nil {
		return "", fmt.Errorf("unpack layer %s: %w", diffID, errors.Join(err, os.RemoveAll(part)))
	}
	if err := os.Rename(part, dir); err != nil {
		return "", fmt.Errorf("unpack layer %s: %w", diffID, err)
	}
	return dir, nil
}

func (s *Store) unpackTo(part string, layer v1.Layer, diffID v1.Hash) error {
	if err := os.RemoveAll(part); err != nil { // of a crash
		return err
	}
	if err := os.Mkdir(part, 0o755); err != nil {
		return err
	}
	archive, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer archive.Close()
	digest := sha256.New()
	stream := io.TeeReader(archive, digest)
	if err := unpack(part, stream, s.limits); err != nil {
		return err
	}
	// What follows the end of the archive belongs to the digest, too.
	if _, err := io.Copy(io.Discard, io.LimitReader(stream, maxTrailer)); err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != diffID.Hex {
		return fmt.Errorf("%w: its content has the digest sha256:%s", ErrDigest, got)
	}
	return nil
}

// maxTrailer is how much padding after a tar archive is read.
const maxTrailer = 1 << 20

func (s *Store) layerDir(diffID v1.Hash) (string, error) {
	if raw, err := hex.DecodeString(diffID.Hex); diffID.Algorithm != "sha256" || err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("layer digest %q: %w: want sha256 and 64 hexadecimal digits", diffID, ErrInvalid)
	}
	return filepath.Join(s.root, "layers", diffID.Hex), nil
}
