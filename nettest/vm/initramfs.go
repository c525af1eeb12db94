package vm

import (
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// init.sh is the guest's first process.
//
//go:embed init.sh
var initScript []byte

// stage is the guest's file system while it is being put together.
type stage struct{ dir string }

// copy puts a file of the machine into the guest, at the same path or at to.
func (s stage) copy(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, to)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return out.Close()
}

// write makes a file of the guest's.
func (s stage) write(path string, content []byte, mode fs.FileMode) error {
	path = filepath.Join(s.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, mode)
}

// program copies a program of the machine with the libraries that it needs,
// into the guest's /bin. What it opens of its own accord is the caller's to
// add.
func (s stage) program(name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	if err := s.copy(path, filepath.Join("bin", name)); err != nil {
		return err
	}
	libraries, err := librariesOf(path)
	if err != nil {
		return err
	}
	for _, l := range libraries {
		if err := s.copy(l, l); err != nil {
			return err
		}
	}
	return nil
}

// librariesOf asks ldd(1); a static program has none.
func librariesOf(path string) (libraries []string, err error) {
	out, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not a dynamic executable") {
		return nil, fmt.Errorf("list libraries of %s: %w: %s", path, err, out)
	}
	for line := range strings.Lines(string(out)) {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") {
				libraries = append(libraries, word)
			}
		}
	}
	return libraries, nil
}

// tree copies a directory of the machine.
func (s stage) tree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return s.copy(path, path)
	})
}

// kernel copies the modules, indexes them anew, so that the guest's modprobe
// has little to read, and returns their names.
func (s stage) kernel(k *Kernel, patterns []string) (names []string, err error) {
	files, err := k.Modules(patterns)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".ko"))
	}
	for _, file := range append(files, "modules.order", "modules.builtin", "modules.builtin.modinfo") {
		path := filepath.Join(k.modules(), file)
		if err := s.copy(filepath.Join(k.Root, path), path); err != nil {
			return nil, err
		}
	}
	if out, err := exec.Command("depmod", "-b", s.dir, k.Release).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("index modules: depmod: %w: %s", err, out)
	}
	return names, nil
}

// pack writes the stage as an initramfs, uncompressed: the kernel's time to
// unpack it would be the guest's.
func (s stage) pack(path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command("sh", "-c", "find . | cpio --quiet --create --format=newc --owner=+0:+0")
	cmd.Dir, cmd.Stdout = s.dir, out
	var problems strings.Builder
	cmd.Stderr = &problems
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pack initramfs: %w: %s", err, &problems)
	}
	return nil
}
