package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berth-net/berth/runtime/volume"
)

// extraMounts are those that this container has besides every container's:
// its /etc files, volumes, bind mounts and tmpfs, a parent before what is
// mounted below it.
func (s *supervisor) extraMounts(rootfs string) ([]specs.Mount, error) {
	mounts, err := s.writeEtcFiles()
	if err != nil {
		return nil, err
	}
	for _, m := range s.c.Mounts {
		resolved, err := s.c.resolveMount(m, rootfs)
		if err != nil {
			return nil, err
		}
		// What a person mounts wins over the files that are made here.
		mounts = slices.DeleteFunc(mounts, func(o specs.Mount) bool { return o.Destination == resolved.Destination })
		mounts = append(mounts, resolved)
	}
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return mounts, nil
}

func (c *Container) resolveMount(m volume.Mount, rootfs string) (specs.Mount, error) {
	mount := specs.Mount{Destination: filepath.Clean(m.Target), Type: "bind", Source: m.Source, Options: []string{"rbind", "rprivate"}}
	switch m.Kind {
	case volume.Tmpfs:
		mount.Type, mount.Source, mount.Options = "tmpfs", "tmpfs", []string{"nosuid", "nodev", "noexec"}
		if m.Options != "" {
			mount.Options = append(mount.Options, strings.Split(m.Options, ",")...)
		}
	case volume.Volume:
		path, err := c.ensureVolume(m, rootfs)
		if err != nil {
			return mount, err
		}
		mount.Source = path
	default:
		if _, err := os.Stat(m.Source); err != nil {
			return mount, fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	if m.ReadOnly {
		mount.Options = append(mount.Options, "ro")
	}
	return mount, nil
}

// ensureVolume makes a volume and fills it from the image.
func (c *Container) ensureVolume(m volume.Mount, rootfs string) (string, error) {
	path, created, err := volume.At(c.store.root).Ensure(m.Source)
	if err != nil || !created {
		return path, err
	}
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := volume.Populate(path, root, m.Target); err != nil {
		return "", fmt.Errorf("fill volume %s: %w", m.Source, err)
	}
	return path, nil
}

// removeVolumes removes the volumes that belong to this container alone.
func (c *Container) removeVolumes() error {
	var errs []error
	for _, m := range c.Mounts {
		if m.Kind == volume.Volume && m.Anonymous {
			errs = append(errs, volume.At(c.store.root).Remove(m.Source))
		}
	}
	return errors.Join(errs...)
}
