package container

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	// libcontainer's cgroup managers cannot restrict devices without it.
	_ "github.com/opencontainers/cgroups/devices"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultPath is where a command is searched when the image does not say.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// makeSandbox mounts the root file system and describes the container to
// libcontainer. It runs on the mount thread.
func (s *supervisor) makeSandbox() (*libcontainer.Container, *libcontainer.Process, error) {
	rootfs, err := s.c.mountRootfs()
	if err != nil {
		return nil, nil, err
	}
	mounts, err := s.extraMounts(rootfs)
	if err != nil {
		return nil, nil, err
	}
	process, err := s.c.processSpec(rootfs)
	if err != nil {
		return nil, nil, err
	}
	filter, err := seccompProfile(s.c.Security)
	if err != nil {
		return nil, nil, err
	}
	config, err := libcontainerConfig(specInput{
		Config: s.c.Config, Rootfs: rootfs, NetNS: s.st.NetNS, OwnNet: s.ownNetwork(),
		Process: *process, Mounts: mounts, Cgroup2: cgroups.IsCgroup2UnifiedMode(), Seccomp: filter,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("configure container %s: %w", s.c.Name, err)
	}
	sandbox, err := libcontainer.Create(s.c.store.sandboxes(), s.c.ID, config)
	if err != nil {
		return nil, nil, fmt.Errorf("create container %s: %w", s.c.Name, err)
	}
	return sandbox, libcontainerProcess(process, true), nil
}

func libcontainerConfig(in specInput) (*configs.Config, error) {
	return specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: in.ID, Spec: buildSpec(in)})
}

// processSpec resolves what the command needs of the mounted root.
func (c *Container) processSpec(rootfs string) (*specs.Process, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return nil, fmt.Errorf("open root file system: %w", err)
	}
	defer root.Close()
	user, home, err := resolveUser(root, c.User)
	if err != nil {
		return nil, err
	}
	cwd := c.WorkingDir
	if cwd == "" {
		cwd = "/"
	}
	return &specs.Process{
		Terminal: c.Terminal, User: user, Args: c.Args, Cwd: path.Clean(cwd),
		Env: c.environment(home),
	}, nil
}

// environment is the configured one and defaults for what it leaves out.
func (c *Container) environment(home string) []string {
	env := []string{defaultPath, "HOSTNAME=" + c.Hostname, "HOME=" + home}
	if c.Terminal {
		env = append(env, "TERM=xterm")
	}
	return MergeEnv(env, c.Env)
}

// MergeEnv is base with over's variables in place of its own of the same
// name.
func MergeEnv(base, over []string) []string {
	merged := slices.Clone(base)
	for _, kv := range over {
		key, _, _ := strings.Cut(kv, "=")
		same := func(e string) bool { return strings.HasPrefix(e, key+"=") }
		if i := slices.IndexFunc(merged, same); i >= 0 {
			merged[i] = kv
		} else {
			merged = append(merged, kv)
		}
	}
	return merged
}

func libcontainerProcess(p *specs.Process, init bool) *libcontainer.Process {
	noNewPrivs := true
	lp := &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd, UID: int(p.User.UID), GID: int(p.User.GID),
		NoNewPrivileges: &noNewPrivs, Init: init,
	}
	for _, g := range p.User.AdditionalGids {
		lp.AdditionalGroups = append(lp.AdditionalGroups, int(g))
	}
	return lp
}
