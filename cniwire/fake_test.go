package cniwire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/cniwire"
	"github.com/berth-net/berth/plugins"
)

// fake records what it is asked, and answers as it is told.
type fake struct {
	verb   string
	req    *plugins.Request
	gc     *plugins.GCRequest
	net    *plugins.Network
	result *plugins.Result
	err    error
	panics bool
	verbs  []string // all that were asked
}

func (f *fake) note(verb string) error {
	f.verb = verb
	f.verbs = append(f.verbs, verb)
	if f.panics {
		panic("as told")
	}
	return f.err
}

func (f *fake) Add(_ context.Context, req *plugins.Request) (*plugins.Result, error) {
	f.req = req
	return f.result, f.note("ADD")
}

func (f *fake) Check(_ context.Context, req *plugins.Request) error {
	f.req = req
	return f.note("CHECK")
}

func (f *fake) Del(_ context.Context, req *plugins.Request) error {
	f.req = req
	return f.note("DEL")
}

func (f *fake) GC(_ context.Context, req *plugins.GCRequest) error {
	f.gc = req
	return f.note("GC")
}

func (f *fake) Status(_ context.Context, net *plugins.Network) error {
	f.net = net
	return f.note("STATUS")
}

// one is an ordinary result.
func one() *plugins.Result {
	return &plugins.Result{
		Interfaces: []plugins.Interface{{Name: "eth0", Sandbox: "/run/netns/c"}},
		IPs:        []plugins.IP{{Interface: 0, Address: netip.MustParsePrefix("10.1.0.2/24")}},
	}
}

// env is a complete environment of the verb.
func env(command string, more ...string) map[string]string {
	m := map[string]string{
		"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c", "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
	}
	for _, kv := range more {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

// answer is what a caller sees of an execution.
type answer struct {
	code           int
	stdout, stderr string
}

func run(f *fake, env map[string]string, stdin string) answer { return runAs("fake", f, env, stdin) }

func runAs(name string, f *fake, env map[string]string, stdin string) answer {
	var stdout, stderr bytes.Buffer
	call := cniwire.Call{
		Name: name, Getenv: func(k string) string { return env[k] },
		Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
		Lookup: func(name string) (plugins.Driver, error) {
			if name == "fake" {
				return f, nil
			}
			return nil, nil
		},
	}
	code := call.Run(context.Background())
	return answer{code, stdout.String(), stderr.String()}
}

// failure is the error object of the specification.
type failure struct {
	CNIVersion   string `json:"cniVersion"`
	Code         plugins.Code
	Msg, Details string
}

func (a answer) failure(t *testing.T) failure {
	t.Helper()
	var f failure
	if err := json.Unmarshal([]byte(a.stdout), &f); err != nil || a.code != 1 || a.stderr != "" {
		t.Fatalf("exit code %d, stdout %q, stderr %q; want an error object and 1: %v", a.code, a.stdout, a.stderr, err)
	}
	return f
}

func (a answer) success(t *testing.T) {
	t.Helper()
	if a.code != 0 || a.stderr != "" {
		t.Fatalf("exit code %d, stdout %q, stderr %q; want success", a.code, a.stdout, a.stderr)
	}
}

var errFake = errors.New("fake failure")
