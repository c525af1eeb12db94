package mesh

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// keyPath is in the directory of this boot, which is in memory: the key
// outlives the agent, as the device does, and never reaches a disk or another
// boot.
func keyPath(dir string) string { return filepath.Join(dir, "wireguard.key") }

// loadKey reads the private key, or makes it for who comes first.
func loadKey(path string) (wgtypes.Key, error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		return parseKey(path, raw)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return wgtypes.Key{}, fmt.Errorf("read key of the mesh: %w", err)
	}
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return key, fmt.Errorf("make key of the mesh: %w", err)
	}
	if err := storeKey(path, key, os.Link); errors.Is(err, fs.ErrExist) {
		return loadKey(path)
	} else if err != nil {
		return key, err
	}
	return key, nil
}

// storeKey writes the key into a file of another name and gives it its own by
// link, which fails where there is one, or rename, which does not.
func storeKey(path string, key wgtypes.Key, name func(old, new string) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write key of the mesh: %w", err)
	}
	draft, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write key of the mesh: %w", err)
	}
	defer os.Remove(draft.Name())
	_, err = draft.WriteString(key.String() + "\n")
	if err = errors.Join(err, draft.Close()); err == nil {
		err = name(draft.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write key of the mesh: %w", err)
	}
	return nil
}

func parseKey(path string, raw []byte) (wgtypes.Key, error) {
	key, err := wgtypes.ParseKey(strings.TrimSpace(string(raw)))
	if err != nil {
		// Without the file's content, which is secret.
		return key, fmt.Errorf("read key of the mesh: %s is not a WireGuard key; remove it, and a new one is made", path)
	}
	return key, nil
}
