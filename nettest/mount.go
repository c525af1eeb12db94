package nettest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// scratch is where the new tmpfs is mounted before /run takes its place.
const scratch = "/run"

// written are the directories that a host may write to: the machine's show
// through until they are changed.
var written = []string{"/etc", "/var/lib"}

// fresh are directories that a host has empty, whatever the machine's hold.
// They are a file system of their own also because overlayfs, on which images
// are mounted below /var/lib/berth, refuses another overlayfs as upper layer.
var fresh = []string{"/etc/cni", "/var/lib/cni", "/var/lib/berth"}

// mountHost gives the calling thread's new mount namespace a file system tree
// in which a test may write what berth writes, unseen by the machine.
func mountHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := mountSys(); err != nil {
		return err
	}
	if err := unix.Mount("nettest", scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", scratch, err)
	}
	for _, dir := range written {
		if err := mountOver(dir); err != nil {
			return err
		}
	}
	for _, dir := range fresh {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("nettest", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}

// mountOver lets writes to dir go to the host's own tmpfs.
func mountOver(dir string) error {
	base := filepath.Join(scratch, ".nettest", filepath.Base(dir))
	upper, work := filepath.Join(base, "upper"), filepath.Join(base, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	// userxattr is what overlayfs needs where trusted.* attributes are not
	// allowed, in a user namespace.
	err := unix.Mount("nettest", dir, "overlay", 0, opts)
	if err != nil {
		err = unix.Mount("nettest", dir, "overlay", 0, opts+",userxattr")
	}
	if err != nil {
		return fmt.Errorf("mount overlay on %s: %w", dir, err)
	}
	return nil
}

// mountSys shows the new namespace's devices in /sys/class/net, and keeps the
// machine's cgroups below it.
func mountSys() error {
	const cgroups = "/sys/fs/cgroup"
	tree, err := unix.OpenTree(unix.AT_FDCWD, cgroups, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("clone %s: %w", cgroups, err)
	}
	defer unix.Close(tree)
	if err := unix.Mount("nettest", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, cgroups, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s: %w", cgroups, err)
	}
	return nil
}
