package container

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// account is a line of passwd(5).
type account struct {
	name     string
	uid, gid uint32
	home     string
}

// resolveUser finds who [USER[:GROUP]] is by the root file system's own
// /etc/passwd and /etc/group. A number that no line has is taken as it is.
func resolveUser(root *os.Root, who string) (specs.User, string, error) {
	name, group, hasGroup := strings.Cut(who, ":")
	if name == "" {
		name = "0"
	}
	acc, err := findAccount(root, name)
	if err != nil {
		return specs.User{}, "", err
	}
	user := specs.User{UID: acc.uid, GID: acc.gid}
	groups, err := readGroups(root)
	if err != nil {
		return specs.User{}, "", err
	}
	if hasGroup && group != "" {
		if user.GID, err = findGroup(groups, group); err != nil {
			return specs.User{}, "", err
		}
	} else if acc.name != "" {
		user.AdditionalGids = memberships(groups, acc.name, acc.gid)
	}
	home := acc.home
	if home == "" {
		home = "/"
	}
	return user, home, nil
}

func findAccount(root *os.Root, name string) (account, error) {
	var found *account
	err := readLines(root, "etc/passwd", func(f []string) {
		if found != nil || len(f) < 6 || f[0] != name && f[2] != name {
			return
		}
		uid, uerr := strconv.ParseUint(f[2], 10, 31)
		gid, gerr := strconv.ParseUint(f[3], 10, 31)
		if uerr == nil && gerr == nil {
			found = &account{f[0], uint32(uid), uint32(gid), f[5]}
		}
	})
	if err != nil {
		return account{}, err
	}
	if found != nil {
		return *found, nil
	}
	uid, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return account{}, fmt.Errorf("user %q: %w: the image's /etc/passwd does not have it", name, ErrInvalid)
	}
	acc := account{uid: uint32(uid)}
	if uid == 0 {
		acc.home = "/root"
	}
	return acc, nil
}

type group struct {
	name    string
	gid     uint32
	members []string
}

func readGroups(root *os.Root) ([]group, error) {
	var groups []group
	err := readLines(root, "etc/group", func(f []string) {
		if len(f) < 4 {
			return
		}
		if gid, err := strconv.ParseUint(f[2], 10, 31); err == nil {
			groups = append(groups, group{f[0], uint32(gid), strings.Split(f[3], ",")})
		}
	})
	return groups, err
}

func findGroup(groups []group, name string) (uint32, error) {
	for _, g := range groups {
		if g.name == name {
			return g.gid, nil
		}
	}
	gid, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w: the image's /etc/group does not have it", name, ErrInvalid)
	}
	return uint32(gid), nil
}

func memberships(groups []group, user string, primary uint32) []uint32 {
	var gids []uint32
	for _, g := range groups {
		for _, m := range g.members {
			if m == user && g.gid != primary {
				gids = append(gids, g.gid)
			}
		}
	}
	return gids
}

// readLines calls fn with the fields of each line of a file such as passwd. A
// file that is not there has no lines. The file is the image's, so symbolic
// links of it are followed inside the root only.
func readLines(root *os.Root, path string, fn func(fields []string)) error {
	file, err := openRegular(root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fn(strings.Split(lines.Text(), ":"))
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the image's /%s: %w", path, err)
	}
	return nil
}

// openRegular refuses what a hostile image puts in a file's place to make its
// reader hang or allocate.
func openRegular(root *os.Root, path string) (*os.File, error) {
	info, err := root.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the image's /%s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read the image's /%s: %w: not a regular file", path, ErrInvalid)
	}
	file, err := root.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the image's /%s: %w", path, err)
	}
	return file, nil
}
