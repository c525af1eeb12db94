package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits bound what one layer may take of the host, whatever its compressed
// size.
type Limits struct {
	Bytes   int64 // of all files together
	Entries int
}

// DefaultLimits are far beyond any image that people use.
var DefaultLimits = Limits{Bytes: 64 << 30, Entries: 4 << 20}

// ErrHostile is wrapped by errors about an archive that no honest tool makes.
var ErrHostile = errors.New("archive is not safe to unpack")

// Names of the OCI image specification, "Whiteouts".
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh." // other metadata of AUFS
)

// unpacker writes a layer to a directory in overlayfs form.
//
// Every entry is made relative to the descriptor of its parent directory,
// which os.Root opens: no name and no symbolic link leads out of the layer,
// and the last component is never followed.
type unpacker struct {
	root   *os.Root
	limits Limits
	seen   map[string]bool // names that the layer itself has
	parent *os.File        // of the last entry
	path   string          // of parent
	dirs   []*tar.Header   // their times are set last
}

// unpack writes the layer, an uncompressed tar archive, to dir, which exists
// and is empty.
func unpack(dir string, layer io.Reader, limits Limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{root: root, limits: limits, seen: map[string]bool{}}
	defer u.closeParent()
	archive := tar.NewReader(layer)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return u.setDirTimes()
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if err := u.entry(h, archive); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if u.limits.Entries--; u.limits.Entries < 0 {
		return fmt.Errorf("%w: too many entries", ErrHostile)
	}
	if u.limits.Bytes -= h.Size; h.Size < 0 || u.limits.Bytes < 0 {
		return fmt.Errorf("%w: its files are too big", ErrHostile)
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if name == "." {
		return u.rootDir(h)
	}
	parent, err := u.openParent(path.Dir(name))
	if err != nil {
		return err
	}
	base := path.Base(name)
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(parent, path.Dir(name), base)
	}
	u.seen[name] = true
	if err := u.create(parent, base, h, content); err != nil {
		return err
	}
	return u.attributes(parent, base, h)
}

// cleanName refuses names that a tar writer of layers does not make.
func cleanName(name string) (string, error) {
	if strings.ContainsRune(name, 0) || len(name) > unix.PathMax {
		return "", fmt.Errorf("%w: bad name", ErrHostile)
	}
	// An absolute name is meant relative to the layer, as tar(1) reads it.
	name = strings.TrimLeft(name, "/")
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("%w: its name leads out of the layer", ErrHostile)
	}
	return path.Clean(name), nil
}

// openParent opens a directory of the layer, and makes it where the archive
// has left it out.
func (u *unpacker) openParent(dir string) (int, error) {
	if u.parent != nil && u.path == dir {
		return int(u.parent.Fd()), nil
	}
	file, err := u.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = u.root.MkdirAll(dir, 0o755); err == nil {
			file, err = u.root.Open(dir)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("%w: open parent: %w", ErrHostile, err)
	}
	info, err := file.Stat()
	if err != nil || !info.IsDir() {
		return -1, errors.Join(fmt.Errorf("%w: its parent is not a directory", ErrHostile), err, file.Close())
	}
	u.closeParent()
	u.parent, u.path = file, dir
	return int(file.Fd()), nil
}

func (u *unpacker) closeParent() {
	if u.parent != nil {
		u.parent.Close()
		u.parent = nil
	}
}

func (u *unpacker) rootDir(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: the root is not a directory", ErrHostile)
	}
	parent, err := u.openParent(".")
	if err != nil {
		return err
	}
	return u.attributes(parent, ".", h)
}

func (u *unpacker) create(parent int, base string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return u.mkdir(parent, base)
	case tar.TypeReg:
		return u.file(parent, base, h, content)
	case tar.TypeSymlink:
		return u.replace(parent, base, func() error { return unix.Symlinkat(h.Linkname, parent, base) })
	case tar.TypeLink:
		return u.hardLink(parent, base, h)
	case tar.TypeFifo:
		return u.replace(parent, base, func() error { return unix.Mknodat(parent, base, unix.S_IFIFO|0o600, 0) })
	case tar.TypeChar, tar.TypeBlock:
		// A container has a /dev of its own and may open no other device, so
		// a node is of no use there, and of harm on the host.
		return nil
	}
	return fmt.Errorf("%w: entry of the unknown type %q", ErrHostile, h.Typeflag)
}

func (u *unpacker) mkdir(parent int, base string) error {
	err := unix.Mkdirat(parent, base, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	return u.replace(parent, base, func() error { return unix.Mkdirat(parent, base, 0o700) })
}

func (u *unpacker) file(parent int, base string, h *tar.Header, content io.Reader) error {
	return u.replace(parent, base, func() error {
		fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(fd), h.Name)
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Close())
	})
}

// hardLink links to an entry of the same layer. What it links to is found
// like a parent, so it cannot be a file of the host.
func (u *unpacker) hardLink(parent int, base string, h *tar.Header) error {
	target, err := cleanName(h.Linkname)
	if err != nil {
		return err
	}
	dir, err := u.root.Open(path.Dir(target))
	if err != nil {
		return fmt.Errorf("%w: link to %q: %w", ErrHostile, h.Linkname, err)
	}
	defer dir.Close()
	return u.replace(parent, base, func() error {
		if err := unix.Linkat(int(dir.Fd()), path.Base(target), parent, base, 0); err != nil {
			return fmt.Errorf("%w: link to %q: %w", ErrHostile, h.Linkname, err)
		}
		return nil
	})
}

// replace makes an entry, in the place of an earlier one of the same name.
func (u *unpacker) replace(parent int, base string, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	err = unix.Unlinkat(parent, base, 0)
	if errors.Is(err, unix.EISDIR) {
		u.closeParent()
		err = u.root.RemoveAll(path.Join(u.path, base))
		if err == nil {
			return fmt.Errorf("%w: a directory is replaced by something else in one layer", ErrHostile)
		}
	}
	if err != nil {
		return err
	}
	return create()
}

// whiteout hides what a lower layer has. What this layer itself has stays.
func (u *unpacker) whiteout(parent int, dir, base string) error {
	switch {
	case base == whiteoutOpaque:
		return unix.Fsetxattr(parent, "trusted.overlay.opaque", []byte("y"), 0)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if hidden == "" || hidden == "." || hidden == ".." {
		return fmt.Errorf("%w: bad whiteout", ErrHostile)
	}
	if u.seen[path.Join(dir, hidden)] {
		return nil
	}
	err := unix.Mknodat(parent, hidden, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// attributes sets owner, mode, attributes and times, in this order: chown
// clears set-user-ID bits and file capabilities.
func (u *unpacker) attributes(parent int, base string, h *tar.Header) error {
	if h.Typeflag == tar.TypeLink || h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		return nil
	}
	if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := u.modeAndXattrs(parent, base, h); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, h)
		return nil
	}
	return setTimes(parent, base, h)
}

func (u *unpacker) modeAndXattrs(parent int, base string, h *tar.Header) error {
	// O_PATH does not read a FIFO; /proc/self/fd leads to what is open, which
	// O_NOFOLLOW has kept from being a link.
	fd, err := unix.Openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := unix.Chmod(self, uint32(h.Mode)&0o7777); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		// Not trusted.*: overlayfs takes redirections from there.
		if !ok || name != "security.capability" && !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		err := unix.Setxattr(self, name, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	return nil
}

func (u *unpacker) setDirTimes() error {
	for _, h := range slices.Backward(u.dirs) {
		name, _ := cleanName(h.Name)
		parent, err := u.openParent(path.Dir(name))
		if err != nil {
			return err
		}
		// It may have been replaced by a later entry.
		if err := setTimes(parent, path.Base(name), h); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

func setTimes(parent int, base string, h *tar.Header) error {
	mod := unix.NsecToTimespec(h.ModTime.UnixNano())
	return unix.UtimesNanoAt(parent, base, []unix.Timespec{mod, mod}, unix.AT_SYMLINK_NOFOLLOW)
}
