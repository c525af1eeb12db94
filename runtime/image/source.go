package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

var platform = v1.Platform{OS: "linux", Architecture: runtime.GOARCH}

// annotationRef is the tag of an image in an OCI layout's index.
const annotationRef = "org.opencontainers.image.ref.name"

// openLayout opens "DIR[:TAG]", an OCI image layout.
func openLayout(rest string) (v1.Image, error) {
	dir, tag := rest, ""
	// A colon may be part of the directory's name, a slash never of a tag's.
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		dir, tag = rest[:i], rest[i+1:]
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var fitting []v1.Descriptor
	for _, d := range manifest.Manifests {
		if tag == "" || match.Name(tag)(d) || match.Annotation(annotationRef, tag)(d) {
			fitting = append(fitting, d)
		}
	}
	return imageOf(index, fitting)
}

// imageOf takes the image for this platform among those described.
func imageOf(index v1.ImageIndex, described []v1.Descriptor) (v1.Image, error) {
	for _, d := range described {
		if d.MediaType.IsIndex() {
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			manifest, err := inner.IndexManifest()
			if err != nil {
				return nil, err
			}
			if img, err := imageOf(inner, manifest.Manifests); !errors.Is(err, ErrNotFound) {
				return img, err
			}
			continue
		}
		if d.MediaType.IsImage() && (d.Platform == nil || d.Platform.Satisfies(platform)) {
			return index.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("%w for %s", ErrNotFound, platform)
}

func openArchive(file string) (v1.Image, error) { return tarball.ImageFromPath(file, nil) }

func openRemote(ctx context.Context, ref name.Reference) (v1.Image, error) {
	return remote.Image(ref, remote.WithContext(ctx), remote.WithPlatform(platform),
		remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(guardedTransport{}))
}

// guardedTransport refuses plain HTTP to any host but this one: what comes
// over it can be anybody's, and credentials would be readable.
type guardedTransport struct{}

func (guardedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !isLoopback(r.URL.Hostname()) {
		return nil, fmt.Errorf("request to %s: %w: plain HTTP is for registries on the loopback only", r.URL.Host, ErrInvalid)
	}
	return remote.DefaultTransport.RoundTrip(r)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// verified reads the image's configuration after having compared the digests
// that lead to it: of the manifest, where it is known, and of itself. The
// layers' digests in it are compared when they are unpacked.
func verified(img v1.Image) (*v1.ConfigFile, v1.Hash, error) {
	digest, err := img.Digest()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	rawManifest, err := img.RawManifest()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	if err := compare("manifest", rawManifest, digest); err != nil {
		return nil, v1.Hash{}, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	if err := compare("configuration", raw, manifest.Config.Digest); err != nil {
		return nil, v1.Hash{}, err
	}
	config, err := img.ConfigFile()
	return config, digest, err
}

func compare(what string, raw []byte, want v1.Hash) error {
	sum := sha256.Sum256(raw)
	if got := hex.EncodeToString(sum[:]); want.Algorithm != "sha256" || got != want.Hex {
		return fmt.Errorf("%s of the image: %w: it has sha256:%s, and %s was said", what, ErrDigest, got, want)
	}
	return nil
}
