package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]Mount{
		"/a:/b":    {Kind: Bind, Source: "/a", Target: "/b"},
		"/a:/b:ro": {Kind: Bind, Source: "/a", Target: "/b", ReadOnly: true},
		"name:/b":  {Kind: Volume, Source: "name", Target: "/b"},
		"n:/b/:rw": {Kind: Volume, Source: "n", Target: "/b/"},
	} {
		if got, err := Parse(arg); err != nil || got != want {
			t.Errorf("%q: %+v, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"", ":", "a", "a:b", "..:/b", "a/../b:/b", "a:/", "a:/sys", "a:/b/../c", "a:/b:rx", "a:/b:ro:z", "-a:/b", "a\x00:/b"} {
		if got, err := Parse(arg); !errors.Is(err, ErrInvalid) && got.Kind == Volume {
			t.Errorf("%q: %+v, %v", arg, got, err)
		}
	}
}

// TestPopulateStaysInTheImage: a link of a hostile image would copy a
// directory of the host into the volume.
func TestPopulateStaysInTheImage(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("owners are copied: needs root")
	}
	image, host, vol := t.TempDir(), t.TempDir(), t.TempDir()
	os.WriteFile(filepath.Join(host, "secret"), nil, 0o600)
	os.Symlink(host, filepath.Join(image, "out"))
	os.MkdirAll(filepath.Join(image, "in", "sub"), 0o711)
	os.Symlink(host, filepath.Join(image, "in", "link"))
	root, err := os.OpenRoot(image)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := Populate(vol, root, "/out"); err == nil {
		t.Error("a link out of the image was followed")
	}
	if err := Populate(vol, root, "/missing"); err != nil {
		t.Error(err)
	}
	if err := Populate(vol, root, "/in"); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(vol); len(entries) != 2 {
		t.Errorf("the volume has %v", entries)
	}
	if target, err := os.Readlink(filepath.Join(vol, "link")); err != nil || target != host {
		t.Errorf("the link became %q, %v", target, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a:/b:ro")
	f.Add("../x:/y")
	f.Fuzz(func(t *testing.T, arg string) {
		m, err := Parse(arg)
		if err == nil && m.Kind == Volume && filepath.Dir(At("/v").Path(m.Source)) != "/v/volumes" {
			t.Errorf("%q leads to %s", arg, At("/v").Path(m.Source))
		}
	})
}
