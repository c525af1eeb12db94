package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
)

// commandFailure tells the exit code of a command that could not be started,
// by looking for it in the root file system. libcontainer's error is text.
func commandFailure(root *os.Root, args, env []string, cwd string, mounted func(string) bool) int {
	code := CodeNoCommand
	for _, candidate := range candidates(args[0], env, cwd) {
		if mounted(candidate) {
			return CodeBerth // it may be there, where we cannot look
		}
		info, err := root.Stat(strings.TrimPrefix(candidate, "/"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil, info.IsDir(), info.Mode()&0o111 == 0:
			code = CodeNotRunnable
		default:
			return CodeBerth
		}
	}
	return code
}

// candidates are the absolute paths by which a command may be meant.
func candidates(command string, env []string, cwd string) []string {
	if path.IsAbs(command) {
		return []string{path.Clean(command)}
	}
	if strings.Contains(command, "/") {
		return []string{path.Join(cwd, command)}
	}
	var paths []string
	for _, kv := range env {
		if list, ok := strings.CutPrefix(kv, "PATH="); ok {
			paths = nil
			for dir := range strings.SplitSeq(list, ":") {
				paths = append(paths, path.Join("/", dir, command))
			}
		}
	}
	return paths
}

// execFailure says so where it was the command that could not be started.
func execFailure(pid int, process *libcontainer.Process, err error) error {
	root, openErr := os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if openErr != nil {
		return err
	}
	defer root.Close()
	unseen := func(string) bool { return false } // its mounts are seen from there
	switch commandFailure(root, process.Args, process.Env, process.Cwd, unseen) {
	case CodeNoCommand:
		return fmt.Errorf("%w: %w", ErrNoCommand, err)
	case CodeNotRunnable:
		return fmt.Errorf("%w: %w", ErrNotRunnable, err)
	}
	return err
}

// startFailure tells the exit code of a container that could not be started.
func (s *supervisor) startFailure() int {
	if s.process == nil {
		return CodeBerth
	}
	code := CodeBerth
	s.mounts.do(func() error {
		root, err := os.OpenRoot(s.sandbox.Config().Rootfs)
		if err != nil {
			return err
		}
		defer root.Close()
		code = commandFailure(root, s.process.Args, s.process.Env, s.process.Cwd, s.mounted)
		return nil
	})
	return code
}

// mounted tells whether a path of the container is below one of its mounts.
func (s *supervisor) mounted(p string) bool {
	for _, m := range s.c.Mounts {
		if p == m.Target || strings.HasPrefix(p, strings.TrimSuffix(m.Target, "/")+"/") {
			return true
		}
	}
	return false
}
