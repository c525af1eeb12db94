package volume

import (
	"io/fs"
	"os"
	"syscall"
)

// copyAttributes sets owner and mode, in this order: chown clears set-user-ID
// bits.
func copyAttributes(to *os.Root, path string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := to.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return to.Chmod(path, info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}
