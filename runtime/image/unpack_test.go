package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("layers are unpacked with their owners: needs root")
	}
}

func archiveOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		content := ""
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			content = "content"
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func dir(name string) tar.Header  { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
func symlink(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
}
func hardlink(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}
}

// TestHostileArchives: each would write or read outside its layer if names
// or links were followed (CVE-2019-14271, CVE-2021-32760 and their kin).
func TestHostileArchives(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for name, headers := range map[string][]tar.Header{
		"a name that leads out":               {file("../escaped")},
		"a name that leads out further in":    {dir("a"), file("a/../../escaped")},
		"through an absolute link":            {symlink("out", "OUTSIDE"), file("out/escaped")},
		"through a relative link":             {symlink("out", "../outside"), file("out/escaped")},
		"through a link to a link":            {symlink("a", "b"), symlink("b", "../outside"), file("a/escaped")},
		"a directory through a link":          {symlink("out", "../outside"), dir("out/escaped")},
		"a whiteout through a link":           {symlink("out", "../outside"), file("out/.wh.secret")},
		"an opaque whiteout through a link":   {symlink("out", "../outside"), file("out/.wh..wh..opq")},
		"a hard link to the host's file":      {hardlink("stolen", "../outside/secret")},
		"a hard link through a link":          {symlink("out", "../outside"), hardlink("stolen", "out/secret")},
		"a hard link to what is not there":    {hardlink("stolen", "/etc/passwd")},
		"a whiteout of the parent":            {file(".wh...")},
		"a directory over a link, then in it": {symlink("d", "../outside"), dir("d/x"), file("d/x/escaped")},
		"a file below a file":                 {file("f"), file("f/escaped")},
		"a root that is a file":               {{Name: "./", Linkname: "x", Typeflag: tar.TypeSymlink}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			layer, outside := sandbox(t)
			for i := range headers {
				headers[i].Linkname = strings.ReplaceAll(headers[i].Linkname, "OUTSIDE", outside)
			}
			if err := unpack(layer, bytes.NewReader(archiveOf(t, headers...)), DefaultLimits); !errors.Is(err, ErrHostile) {
				t.Errorf("error: %v", err)
			}
			untouched(t, outside)
		})
	}
}

// sandbox is a directory for a layer and one beside it that nothing may touch.
func sandbox(t testing.TB) (layer, outside string) {
	t.Helper()
	root := t.TempDir()
	layer, outside = filepath.Join(root, "layer"), filepath.Join(root, "outside")
	err := errors.Join(os.Mkdir(layer, 0o755), os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return layer, outside
}

func untouched(t testing.TB, outside string) {
	t.Helper()
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Fatalf("outside: %v, %v", entries, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(outside, "secret"), &st); err != nil || st.Nlink != 1 || st.Size != 6 || st.Mode&0o7777 != 0o600 {
		t.Fatalf("the file outside: %+v, %v", st, err)
	}
	if beside, _ := os.ReadDir(filepath.Dir(outside)); len(beside) != 2 {
		t.Fatalf("beside the layer: %v", beside)
	}
}

func TestUnpackMakesOverlayForm(t *testing.T) {
	t.Parallel()
	needRoot(t)
	layer, _ := sandbox(t)
	suid := file("usr/bin/su")
	suid.Mode, suid.Uid, suid.Gid = 0o4755, 7, 8
	evil := file("evil")
	evil.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.kept": "yes"}
	raw := archiveOf(t, dir("./"), suid, file("gone/.wh.old"), file("kept"), file(".wh.kept"), file("opaque/.wh..wh..opq"),
		file(".wh..wh.plnk"), hardlink("hard", "/usr/bin/su"), symlink("dangling", "/etc/passwd"), evil,
		tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}, tar.Header{Name: "pipe", Typeflag: tar.TypeFifo})
	if err := unpack(layer, bytes.NewReader(raw), DefaultLimits); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	at := func(name string) unix.Stat_t {
		if err := unix.Lstat(filepath.Join(layer, name), &st); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return st
	}
	if at("usr/bin/su"); st.Mode&0o7777 != 0o4755 || st.Uid != 7 || st.Gid != 8 || st.Nlink != 2 {
		t.Errorf("su: %+v", st)
	}
	if at("gone/old"); st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("whiteout: %+v", st)
	}
	if at("kept"); st.Mode&unix.S_IFMT != unix.S_IFREG {
		t.Errorf("a whiteout hides what its own layer has: %+v", st)
	}
	if at("pipe"); st.Mode&unix.S_IFMT != unix.S_IFIFO {
		t.Errorf("pipe: %+v", st)
	}
	if _, err := os.Lstat(filepath.Join(layer, "disk")); err == nil {
		t.Error("a device node was made")
	}
	value := make([]byte, 16)
	if n, err := unix.Lgetxattr(filepath.Join(layer, "opaque"), "trusted.overlay.opaque", value); err != nil || string(value[:n]) != "y" {
		t.Errorf("opaque: %q, %v", value, err)
	}
	if _, err := unix.Lgetxattr(filepath.Join(layer, "evil"), "trusted.overlay.redirect", value); err == nil {
		t.Error("an attribute that overlayfs follows was taken over")
	}
}

func TestBombsAreBounded(t *testing.T) {
	t.Parallel()
	needRoot(t)
	big := file("big")
	big.Size = 1 << 40
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&big); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		raw    []byte
		limits Limits
	}{
		"size":    {b.Bytes(), Limits{Bytes: 1 << 30, Entries: 10}},
		"entries": {archiveOf(t, dir("a"), dir("b"), dir("c")), Limits{Bytes: 1 << 30, Entries: 2}},
	} {
		layer, _ := sandbox(t)
		if err := unpack(layer, bytes.NewReader(c.raw), c.limits); !errors.Is(err, ErrHostile) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzUnpack looks for an archive that touches what is beside its layer.
func FuzzUnpack(f *testing.F) {
	needRoot(f)
	f.Add(archiveOf(f, dir("a"), file("a/b"), symlink("a/c", "../.."), hardlink("d", "a/b")))
	f.Add(archiveOf(f, symlink("out", "../outside"), file("out/escaped"), file("out/.wh.secret")))
	f.Add(archiveOf(f, file(".wh.x"), file("y/.wh..wh..opq"), file("../z")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		layer, outside := sandbox(t)
		unpack(layer, bytes.NewReader(raw), Limits{Bytes: 1 << 20, Entries: 100})
		untouched(t, outside)
	})
}
