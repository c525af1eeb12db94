package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// clusterMark is in the name of a file that Install wrote, so that it knows
// which ones it may remove.
const clusterMark = "berth-cluster-"

// Install makes the cluster's networks exist on this host: lists has the
// content of their configuration files by network name. One that the host has
// from elsewhere is left alone; one that an earlier Install wrote and that is
// no longer in lists is removed.
func (c *Catalogue) Install(lists map[string][]byte) error {
	return c.locked(func() error {
		entries, err := os.ReadDir(c.dir)
		if err != nil {
			return fmt.Errorf("list networks' directory: %w", err)
		}
		var errs []error
		for _, e := range entries {
			name, ours := strings.CutPrefix(strings.TrimSuffix(e.Name(), fileSuffix), clusterMark)
			if _, still := lists[name]; ours && !still {
				errs = append(errs, os.Remove(filepath.Join(c.dir, e.Name())))
			}
		}
		for name, content := range lists {
			errs = append(errs, c.installOne(name, content))
		}
		return errors.Join(errs...)
	})
}

func (c *Catalogue) installOne(name string, content []byte) error {
	if err := checkNetworkName(name); err != nil {
		return err
	}
	for _, file := range []string{fileName(name), clusterMark + name + fileSuffix} {
		if _, err := os.Lstat(filepath.Join(c.dir, file)); err == nil {
			return nil
		}
	}
	return c.writeNew(clusterMark+name+fileSuffix, content)
}
