package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountRootfs mounts the container's root, an overlay of its own directory
// over the image's layers, on the calling thread. The layers are never
// written to.
func (c *Container) mountRootfs() (string, error) {
	target := filepath.Join(c.Dir(), "rootfs")
	if err := c.prepareUpper(); err != nil {
		return "", err
	}
	names, err := c.linkLayers()
	if err != nil {
		return "", err
	}
	// The paths are relative to the working directory, the thread's own:
	// mount(2) takes a page of options, which long paths of many layers fill.
	if err := unix.Chdir(c.Dir()); err != nil {
		return "", fmt.Errorf("enter %s: %w", c.Dir(), err)
	}
	defer unix.Chdir("/")
	options := "lowerdir=" + strings.Join(names, ":") + ",upperdir=upper,workdir=work"
	if err := unix.Mount("overlay", "rootfs", "overlay", 0, options); err != nil {
		return "", mountError(c.Dir(), err)
	}
	return target, nil
}

func mountError(dir string, err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("mount root file system: the kernel has no overlayfs (CONFIG_OVERLAY_FS): %w", err)
	}
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("mount root file system: %s is on a file system that overlayfs cannot write to, as an overlay or NFS is; mount another at %s: %w", dir, DefaultRoot, err)
	}
	return fmt.Errorf("mount root file system: %w", err)
}

// prepareUpper makes the overlay's directories. The root directory's mode and
// owner are those of the topmost layer.
func (c *Container) prepareUpper() error {
	if len(c.Layers) == 0 {
		return fmt.Errorf("image %s: %w: it has no layer", c.Image, ErrInvalid)
	}
	for _, d := range []string{"upper", "work", "rootfs", "l"} {
		if err := os.Mkdir(filepath.Join(c.Dir(), d), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make root file system: %w", err)
		}
	}
	var st unix.Stat_t
	top := c.Layers[len(c.Layers)-1]
	if err := unix.Stat(top, &st); err != nil {
		return fmt.Errorf("make root file system: layer %s: %w", top, err)
	}
	upper := filepath.Join(c.Dir(), "upper")
	if err := errors.Join(os.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, st.Mode&0o7777)); err != nil {
		return fmt.Errorf("make root file system: %w", err)
	}
	return nil
}

// linkLayers gives each layer a short name without a character that the
// options of a mount would need escaped, the topmost first.
func (c *Container) linkLayers() ([]string, error) {
	var names []string
	for i := range c.Layers {
		name := fmt.Sprintf("l/%d", i)
		err := os.Symlink(c.Layers[len(c.Layers)-1-i], filepath.Join(c.Dir(), name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("make root file system: %w", err)
		}
		names = append(names, name)
	}
	return names, nil
}
