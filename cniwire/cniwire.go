// Package cniwire is the CNI face of the drivers: it turns the environment and
// standard input of one execution, as section 2 of the CNI specification has
// them, into a call of a plugins.Driver, and the outcome into JSON on standard
// output in the version that the configuration asks for.
//
// The CNI project's pkg/skel does the same for most plugins. It cannot serve a
// driver that works in the host's own network namespace: there it prints the
// driver's result and an error after it.
package cniwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/version"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/cniresult"
)

// Versions are the versions of the specification that every driver speaks,
// the oldest first.
var Versions = []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// Newest is the last of Versions.
const Newest = "1.1.0"

// since is the first version that has the verb; the others always were.
var since = map[string]string{"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

// Call is one execution of a plugin.
type Call struct {
	// Name is what the plugin was called by: the last element of argv[0].
	Name   string
	Getenv func(string) string
	Stdin  io.Reader
	Stdout io.Writer // the result or the error, nothing else
	Stderr io.Writer // nothing, unless a person asked who this is

	// Lookup is the driver of a name, nil for one it does not know. When it
	// does not know Name, it is asked for the configuration's "type".
	Lookup func(name string) (plugins.Driver, error)
}

// Run executes the plugin and returns its exit code: 0, or 1 when an error
// was written to Stdout.
func (c *Call) Run(ctx context.Context) int {
	var out []byte
	var err error
	speaks := Newest // until the configuration says what its caller speaks
	switch command := c.Getenv("CNI_COMMAND"); command {
	case "":
		return c.about()
	case "VERSION":
		out, err = versionInfo()
	default:
		out, err = c.answer(ctx, command, &speaks)
	}
	code := 0
	if err != nil {
		out, code = errorJSON(err, speaks), 1
	}
	if _, err := c.Stdout.Write(out); err != nil {
		fmt.Fprintf(c.Stderr, "write answer: %v\n", err)
		return 1
	}
	return code
}

// about answers a person, and clients such as nerdctl that look for the
// version in these words.
func (c *Call) about() int {
	fmt.Fprintf(c.Stderr, "CNI %s plugin v%s\nCNI protocol versions supported: %s\n",
		c.Name, strings.TrimPrefix(version.Version, "v"), strings.Join(Versions, ", "))
	return 0
}

// answer is the JSON of a verb's success. It sets speaks as soon as the
// configuration has told it.
func (c *Call) answer(ctx context.Context, command string, speaks *string) ([]byte, error) {
	env, err := decodeEnv(command, c.Getenv)
	if err != nil {
		return nil, err
	}
	raw, err := readConfig(c.Stdin)
	if err != nil {
		return nil, err
	}
	conf, err := decodeConfig(raw)
	if err != nil {
		return nil, err
	}
	if slices.Contains(Versions, conf.CNIVersion) {
		*speaks = conf.CNIVersion
	}
	if err := checkVersion(command, conf.CNIVersion); err != nil {
		return nil, err
	}
	name, driver, err := c.driver(conf)
	if err != nil {
		return nil, err
	}
	net := plugins.Network{Name: conf.Name, Type: name, CNIVersion: conf.CNIVersion, Config: raw, Path: env.path}
	return c.dispatch(ctx, driver, net, env, conf)
}

func (c *Call) driver(conf *config) (string, plugins.Driver, error) {
	for _, name := range []string{c.Name, conf.Type} {
		if driver, err := c.Lookup(name); driver != nil || err != nil {
			return name, driver, err
		}
	}
	return "", nil, plugins.Errorf(plugins.CodeInvalidConfig,
		"type: neither %q, the name this plugin was called by, nor %q is one of its drivers", c.Name, conf.Type)
}

// dispatch runs the verb. A driver that panics is one that failed: the caller
// must read an error, and the stack is of use only to us.
func (c *Call) dispatch(ctx context.Context, d plugins.Driver, net plugins.Network, env *environment, conf *config) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = plugins.Errorf(plugins.CodeInternal, "%s of type %s panicked: %v\n%s", env.command, net.Type, p, debug.Stack())
		}
	}()
	switch env.command {
	case "GC":
		valid, err := conf.valid()
		if err != nil {
			return nil, err
		}
		return nil, d.GC(ctx, &plugins.GCRequest{Network: net, Valid: valid})
	case "STATUS":
		return nil, d.Status(ctx, &net)
	}
	req, err := request(net, env, conf)
	if err != nil {
		return nil, err
	}
	switch env.command {
	case "ADD":
		return c.add(ctx, d, req)
	case "CHECK":
		return nil, d.Check(ctx, req)
	default:
		return nil, d.Del(ctx, req)
	}
}

// add undoes what a driver made when the caller could not be told of it.
// Runtimes log what a plugin writes to standard error.
func (c *Call) add(ctx context.Context, d plugins.Driver, req *plugins.Request) ([]byte, error) {
	result, err := d.Add(ctx, req)
	if err != nil {
		return nil, err
	}
	out, err := cniresult.Encode(withNames(ctx, req, result), req.CNIVersion)
	if err != nil {
		return nil, errors.Join(err, d.Del(ctx, req))
	}
	for _, warning := range result.Warnings {
		fmt.Fprintf(c.Stderr, "%s: warning: %s\n", req.Type, warning)
	}
	return append(out, '\n'), nil
}

// request decodes what only ADD, CHECK and DEL have.
//
// DEL takes only what is well formed of the optional values. It needs none of
// them, because what it must undo is recorded, and a runtime repeats it with
// the very values that made ADD fail: to refuse them again would keep the
// container from ever being removed.
func request(net plugins.Network, env *environment, conf *config) (*plugins.Request, error) {
	req := &plugins.Request{
		Network: net, ContainerID: env.containerID, NetNS: env.netns, IfName: env.ifName, Owner: "cni",
	}
	var errs [3]error
	req.Args, errs[0] = decodeArgs(env.args, conf.Args)
	req.Runtime, errs[1] = decodeRuntime(conf.RuntimeConfig, net.Name)
	req.Prev, errs[2] = decodePrev(conf.PrevResult, conf.CNIVersion)
	if env.command == "DEL" {
		return req, nil
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return req, nil
}

func checkVersion(command, asked string) error {
	have := slices.Index(Versions, asked)
	if have < 0 {
		return plugins.Errorf(plugins.CodeIncompatibleVersion,
			"cniVersion: %q is not supported; the versions are %s", asked, strings.Join(Versions, ", "))
	}
	if first, ok := since[command]; ok && have < slices.Index(Versions, first) {
		return plugins.Errorf(plugins.CodeIncompatibleVersion, "cniVersion: %s has no %s; it needs %s or later", asked, command, first)
	}
	return nil
}
