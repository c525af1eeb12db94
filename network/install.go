package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/state"
)

// clusterMark begins the empty file beside a configuration that came from the
// cluster, so that Install knows which ones it may remove.
const clusterMark = ".berth-cluster-"

// Install makes the cluster's networks exist on this host: lists has the
// content of their configuration files by network name. One that the host has
// from elsewhere is left alone. One that came from the cluster and is no longer
// in lists is removed, but not while this host has endpoints on it: a cluster
// does not let go of a network in use, so it has lost what it knew, and whoever
// detaches them, or makes the network again by an ADD, needs the file.
func (c *Catalogue) Install(lists map[string][]byte) error {
	return c.locked(func() error {
		errs := []error{c.uninstall(lists)}
		for name, content := range lists {
			errs = append(errs, c.installOne(name, content))
		}
		return errors.Join(errs...)
	})
}

func (c *Catalogue) uninstall(except map[string][]byte) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("list networks' directory: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name, ours := strings.CutPrefix(e.Name(), clusterMark)
		if _, stays := except[name]; !ours || stays {
			continue
		}
		if used, err := c.hasEndpoints(name); err != nil || used {
			errs = append(errs, err)
			continue
		}
		for _, file := range []string{fileName(name), e.Name()} {
			if err := os.Remove(filepath.Join(c.dir, file)); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (c *Catalogue) hasEndpoints(name string) (has bool, err error) {
	err = c.store.View(func(tx *state.Tx) error { has = endpoint.Any(tx, name); return nil })
	return has, err
}

// installOne writes a network's file where there is none, and marks it where
// it is the cluster's.
func (c *Catalogue) installOne(name string, content []byte) error {
	if err := checkNetworkName(name); err != nil {
		return err
	}
	have, err := os.ReadFile(filepath.Join(c.dir, fileName(name)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, content, "", "  "); err != nil {
			return fmt.Errorf("install network %s: %w", name, err)
		}
		pretty.WriteByte('\n')
		if err := c.writeNew(fileName(name), pretty.Bytes()); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("install network %s: %w", name, err)
	case !sameJSON(have, content):
		return nil
	}
	if err := os.WriteFile(filepath.Join(c.dir, clusterMark+name), nil, 0o644); err != nil {
		return fmt.Errorf("install network %s: %w", name, err)
	}
	return nil
}

// FromCluster tells whether a network's file is as the cluster has it.
func (c *Catalogue) FromCluster(name string) bool {
	_, err := os.Stat(filepath.Join(c.dir, clusterMark+name))
	return err == nil
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}
