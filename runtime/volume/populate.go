package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Populate fills a new volume with what the image has at the path where it is
// mounted, as people expect of a volume over a directory with defaults. root
// is the container's; its symbolic links are followed inside it only. A path
// that is not there, or not a directory, is success.
func Populate(volume string, root *os.Root, target string) error {
	source, err := root.OpenRoot(strings.TrimPrefix(filepath.Clean(target), "/"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	to, err := os.OpenRoot(volume)
	if err != nil {
		return err
	}
	defer to.Close()
	return fs.WalkDir(source.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return copyEntry(source, to, path)
	})
}

func copyEntry(from, to *os.Root, path string) error {
	info, err := from.Lstat(path)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		if path != "." {
			err = to.Mkdir(path, 0o700)
		}
	case info.Mode()&fs.ModeSymlink != 0:
		target, lerr := from.Readlink(path)
		if lerr != nil {
			return lerr
		}
		err = to.Symlink(target, path)
	case info.Mode().IsRegular():
		err = copyFile(from, to, path)
	default:
		return nil // a socket or FIFO is its process's business
	}
	if err != nil {
		return err
	}
	return copyAttributes(to, path, info)
}

func copyFile(from, to *os.Root, path string) error {
	in, err := from.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	return errors.Join(err, out.Close())
}
