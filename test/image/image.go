// Package image builds OCI images for the demo and the tests out of nothing
// but files.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is a regular file of an image.
type File struct {
	Path    string // without a leading slash
	Mode    int64
	Content []byte
}

// New is an image of one layer with the files in it.
func New(config v1.Config, files ...File) (v1.Image, error) {
	raw, err := archive(files)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	})
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("append layer: %w", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	return mutate.ConfigFile(img, file)
}

func archive(files []File) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		header := tar.Header{Name: f.Path, Mode: f.Mode, Size: int64(len(f.Content)), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("archive %s: %w", f.Path, err)
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, fmt.Errorf("archive %s: %w", f.Path, err)
		}
	}
	return buf.Bytes(), w.Close()
}

// WriteLayout makes an OCI image layout in dir, with the image under tag.
func WriteLayout(dir, tag string, img v1.Image) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write OCI layout %s: %w", dir, err)
	}
	return path.AppendImage(img, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag,
	}))
}

// BuildHTTPD compiles the repository's httpd, static, into dir, and returns
// the path of the binary. It must run inside the repository.
func BuildHTTPD(dir string) (string, error) {
	path := filepath.Join(dir, "httpd")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, "github.com/berth-net/berth/test/httpd")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build httpd: %w\n%s", err, out)
	}
	return path, nil
}
