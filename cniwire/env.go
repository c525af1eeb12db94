package cniwire

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// environment is the parameters of the specification, section "Parameters".
type environment struct {
	command     string
	containerID string
	netns       string
	ifName      string
	args        string // CNI_ARGS, still to be decoded
	path        []string
}

// required lists, for every verb, the variables that must be set.
var required = map[string][]string{
	"ADD":    {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"},
	"CHECK":  {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"},
	"DEL":    {"CNI_CONTAINERID", "CNI_IFNAME"},
	"GC":     {"CNI_PATH"},
	"STATUS": nil,
}

// decodeEnv reads and validates the environment. Variables that the verb has
// no use for are not looked at.
func decodeEnv(command string, getenv func(string) string) (*environment, error) {
	need, known := required[command]
	if !known {
		return nil, envError("CNI_COMMAND: %q is none of ADD, CHECK, DEL, GC, STATUS, VERSION", command)
	}
	missing := slices.DeleteFunc(slices.Clone(need), func(name string) bool { return getenv(name) != "" })
	if len(missing) > 0 {
		return nil, envError("%s: not set, and %s needs it", strings.Join(missing, ", "), command)
	}
	env := &environment{command: command, path: splitPath(getenv("CNI_PATH"))}
	if slices.Contains(need, "CNI_CONTAINERID") {
		env.containerID, env.netns = getenv("CNI_CONTAINERID"), getenv("CNI_NETNS")
		env.ifName, env.args = getenv("CNI_IFNAME"), getenv("CNI_ARGS")
		return env, env.validate()
	}
	return env, nil
}

func (e *environment) validate() error {
	if why := nameProblem(e.containerID); why != "" {
		return envError("CNI_CONTAINERID: %q %s", e.containerID, why)
	}
	if why := netdev.NameProblem(e.ifName); why != "" {
		return envError("CNI_IFNAME: %q %s", e.ifName, why)
	}
	return nil
}

func splitPath(list string) []string {
	return slices.DeleteFunc(filepath.SplitList(list), func(dir string) bool { return dir == "" })
}

// maxName is NAME_MAX of include/uapi/linux/limits.h: clients name files
// after networks and containers.
const maxName = 255

// nameProblem tells what is wrong with the name of a network or container, or
// nothing. The characters are those of the specification: they cannot form a
// path that leads out of a directory.
func nameProblem(name string) string {
	if name == "" {
		return "is empty"
	}
	if len(name) > maxName {
		return "is longer than 255 bytes"
	}
	if !alphanumeric(name[0]) {
		return "does not begin with a letter or a digit"
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '_' && c != '.' && c != '-' {
			return "has a character that is no letter, digit, dot, underscore or hyphen"
		}
	}
	return ""
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func envError(format string, args ...any) error {
	return plugins.Errorf(plugins.CodeInvalidEnvironment, format, args...)
}
