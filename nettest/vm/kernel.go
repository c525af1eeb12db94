// Package vm runs Go tests on another kernel than the machine's: one that has
// what the machine's was built without. It boots the kernel in QEMU, without
// acceleration where there is none, from an initramfs that holds the tests
// and the programs they call, and reads what they print.
//
// Which tests these are, they say themselves: all that call
// nettest.RequireKernel, which skips where the feature is missing, and does
// not in here.
package vm

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Kernel is a kernel package of Debian's, unpacked: boot/vmlinuz-RELEASE and
// lib/modules/RELEASE with an index by depmod.
type Kernel struct {
	Root    string
	Release string
}

// FindKernel finds the kernel in a directory. It satisfies
// errors.Is(err, fs.ErrNotExist) where there is none.
func FindKernel(root string) (*Kernel, error) {
	found, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("find a kernel in %s: %w", root, os.ErrNotExist)
	}
	_, release, _ := strings.Cut(filepath.Base(found[0]), "-")
	return &Kernel{Root: root, Release: release}, nil
}

// Image is the kernel's file.
func (k *Kernel) Image() string { return filepath.Join(k.Root, "boot", "vmlinuz-"+k.Release) }

// modules is the directory of the kernel's modules, below any root.
func (k *Kernel) modules() string { return filepath.Join("lib", "modules", k.Release) }

// Modules lists the files of the modules that the patterns (path.Match, from
// the folder "kernel" on) name, and of those they depend on, relative to the
// folder of all modules. A pattern that names none is an error.
func (k *Kernel) Modules(patterns []string) ([]string, error) {
	depends, err := k.dependencies()
	if err != nil {
		return nil, err
	}
	chosen := map[string]bool{}
	for _, pattern := range patterns {
		matched := false
		for file, others := range depends {
			ok, err := path.Match(pattern, strings.TrimPrefix(file, "kernel/"))
			if err != nil {
				return nil, fmt.Errorf("match modules: %q: %w", pattern, err)
			}
			if !ok {
				continue
			}
			matched = true
			for _, f := range append(others, file) {
				chosen[f] = true
			}
		}
		if !matched {
			return nil, fmt.Errorf("find modules %q of kernel %s: %w", pattern, k.Release, os.ErrNotExist)
		}
	}
	files := make([]string, 0, len(chosen))
	for file := range chosen {
		files = append(files, file)
	}
	slices.Sort(files)
	return files, nil
}

// dependencies reads modules.dep (modules.dep(5)): a module's file, and those
// of all that must be loaded before it.
func (k *Kernel) dependencies() (map[string][]string, error) {
	f, err := os.Open(filepath.Join(k.Root, k.modules(), "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read the index of modules, which depmod makes: %w", err)
	}
	defer f.Close()
	depends := map[string][]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		file, others, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return nil, fmt.Errorf("read %s: no colon in %q", f.Name(), lines.Text())
		}
		depends[file] = strings.Fields(others)
	}
	return depends, lines.Err()
}
