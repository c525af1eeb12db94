// Package upstream builds the plugins of the CNI project, to be run beside
// berth's in tests and measurements.
package upstream

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
)

// Version is the release whose keys berth's plugins take.
const Version = "v1.9.1"

const module = "github.com/containernetworking/plugins/plugins/"

// Plugins is a directory of the user's cache with the plugins of the names,
// such as "ipam/dhcp". What is not there yet is built.
func Plugins(names ...string) (dir string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache: %w", err)
	}
	dir = filepath.Join(cache, "berth-upstream-"+Version)
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, path.Base(name))); err == nil {
			continue
		}
		cmd := exec.Command("go", "install", "-trimpath", module+name+"@"+Version)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+dir, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build upstream's %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
}
