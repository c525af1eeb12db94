package cniwire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/version"

	"github.com/berth-net/berth/cniwire"
	"github.com/berth-net/berth/plugins"
)

func conf(version, more string) string {
	return fmt.Sprintf(`{"cniVersion": %q, "name": "net1", "type": "fake"%s}`, version, more)
}

func TestVersionsAreTheLibrarys(t *testing.T) {
	t.Parallel()
	if !slices.Equal(cniwire.Versions, version.All.SupportedVersions()) || cniwire.Newest != version.Current() {
		t.Errorf("versions %q up to %s; the library has %q up to %s",
			cniwire.Versions, cniwire.Newest, version.All.SupportedVersions(), version.Current())
	}
}

func TestVersionVerb(t *testing.T) {
	t.Parallel()
	// Nothing is read: the reader would fail.
	a := run(&fake{}, env("VERSION"), "not JSON")
	a.success(t)
	info, err := new(version.PluginDecoder).Decode([]byte(a.stdout))
	if err != nil || !slices.Equal(info.SupportedVersions(), cniwire.Versions) {
		t.Errorf("%q: %v", a.stdout, err)
	}
}

func TestWithoutACommandItTellsWhoItIs(t *testing.T) {
	t.Parallel()
	a := run(&fake{}, nil, "")
	// nerdctl looks for a line "CNI NAME plugin VERSION".
	if a.code != 0 || a.stdout != "" || !strings.HasPrefix(a.stderr, "CNI fake plugin v") || !strings.Contains(a.stderr, "1.1.0") {
		t.Errorf("%+v", a)
	}
}

func TestEveryVerbReachesTheDriver(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"ADD", "CHECK", "DEL", "GC", "STATUS"} {
		f := &fake{result: one()}
		a := run(f, env(verb), conf("1.1.0", ""))
		a.success(t)
		if f.verb != verb {
			t.Errorf("%s: the driver was asked %q", verb, f.verb)
		}
		if (a.stdout != "") != (verb == "ADD") {
			t.Errorf("%s: stdout %q", verb, a.stdout)
		}
	}
}

func TestRequestCarriesWhatWasGiven(t *testing.T) {
	t.Parallel()
	f := &fake{result: one()}
	stdin := conf("1.1.0", `, "mtu": 1400`)
	run(f, env("ADD", "CNI_PATH=/a::/b"), stdin).success(t)
	want := &plugins.Request{
		Network:     plugins.Network{Name: "net1", Type: "fake", CNIVersion: "1.1.0", Config: []byte(stdin), Path: []string{"/a", "/b"}},
		ContainerID: "c1", NetNS: "/run/netns/c", IfName: "eth0", Owner: "cni",
	}
	if !reflect.DeepEqual(f.req, want) {
		t.Errorf("request %+v\nwant    %+v", f.req, want)
	}
}

func TestVerbsThatAVersionLacks(t *testing.T) {
	t.Parallel()
	for verb, first := range map[string]string{"ADD": "0.1.0", "DEL": "0.1.0", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"} {
		for _, v := range cniwire.Versions {
			f := &fake{result: one()}
			a := run(f, env(verb), conf(v, ""))
			if slices.Index(cniwire.Versions, v) >= slices.Index(cniwire.Versions, first) {
				a.success(t)
				continue
			}
			got := a.failure(t)
			if got.Code != plugins.CodeIncompatibleVersion || got.CNIVersion != v || f.verb != "" {
				t.Errorf("%s at %s: %+v, driver asked %q", verb, v, got, f.verb)
			}
		}
	}
}

func TestADriversErrorIsTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want failure
	}{
		{errFake, failure{"1.0.0", plugins.CodeInternal, "fake failure", ""}},
		{plugins.Errorf(plugins.CodeTryAgain, "no quorum"), failure{"1.0.0", plugins.CodeTryAgain, "no quorum", ""}},
		{fmt.Errorf("add: %w", plugins.Errorf(plugins.CodeUnknownContainer, "who?")), failure{"1.0.0", plugins.CodeUnknownContainer, "add: who?", ""}},
		{errors.Join(errFake, errFake), failure{"1.0.0", plugins.CodeInternal, "fake failure", "fake failure"}},
	} {
		if got := run(&fake{err: c.err}, env("ADD"), conf("1.0.0", "")).failure(t); got != c.want {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
}

func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	got := run(&fake{panics: true}, env("DEL"), conf("1.0.0", "")).failure(t)
	if got.Code != plugins.CodeInternal || !strings.Contains(got.Msg, "as told") || !strings.Contains(got.Details, "fake_test.go") {
		t.Errorf("%+v", got)
	}
}

// CNI has no place for warnings but standard error, which runtimes log.
func TestWarningsGoToStandardErrorOnce(t *testing.T) {
	t.Parallel()
	f := &fake{result: one()}
	f.result.Warnings = []string{"first", "second"}
	a := run(f, env("ADD"), conf("1.1.0", ""))
	if want := "fake: warning: first\nfake: warning: second\n"; a.code != 0 || a.stderr != want {
		t.Errorf("exit code %d, stderr %q, want %q", a.code, a.stderr, want)
	}
	if strings.Contains(strings.ToLower(a.stdout), "warning") {
		t.Errorf("the result has what the specification does not: %s", a.stdout)
	}
	f.result.Warnings, f.err = []string{"of what failed"}, errFake
	run(f, env("ADD"), conf("1.1.0", "")).failure(t) // which wants nothing on standard error
}

func TestAResultThatCannotBeToldIsUndone(t *testing.T) {
	t.Parallel()
	f := &fake{result: &plugins.Result{IPs: []plugins.IP{{Address: netip.Prefix{}}}}}
	a := run(f, env("ADD"), conf("1.0.0", ""))
	a.failure(t)
	if !slices.Equal(f.verbs, []string{"ADD", "DEL"}) {
		t.Errorf("the driver was asked %q", f.verbs)
	}
}

func TestTheTypeDecidesWhereTheNameDoesNot(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"fake", "berth-cni"} {
		f := &fake{}
		runAs(name, f, env("DEL"), conf("1.0.0", "")).success(t)
		if f.req.Type != "fake" {
			t.Errorf("called as %s: type %q", name, f.req.Type)
		}
	}
	got := runAs("berth-cni", &fake{}, env("DEL"), `{"name": "n", "type": "other"}`).failure(t)
	if got.Code != plugins.CodeInvalidConfig || !strings.Contains(got.Msg, `"other"`) {
		t.Errorf("%+v", got)
	}
}

func TestGCTakesBothKeys(t *testing.T) {
	t.Parallel()
	a, b := plugins.Attachment{ContainerID: "a", IfName: "eth0"}, plugins.Attachment{ContainerID: "b", IfName: "eth1"}
	for more, want := range map[string][]plugins.Attachment{
		``:                              {},
		`, "cni.dev/attachments": null`: {},
		`, "cni.dev/attachments": []`:   {},
		`, "cni.dev/valid-attachments": [{"containerID":"a","ifname":"eth0"}]`:                                                              {a},
		`, "cni.dev/attachments": [{"containerID":"b","ifname":"eth1"}]`:                                                                    {b},
		`, "cni.dev/attachments": [{"containerID":"b","ifname":"eth1"}], "cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]`: {a, b},
	} {
		f := &fake{}
		run(f, env("GC"), conf("1.1.0", more)).success(t)
		if !reflect.DeepEqual(f.gc.Valid, want) {
			t.Errorf("%s: %+v, want %+v", more, f.gc.Valid, want)
		}
	}
}

func TestDelIgnoresOptionalValuesThatMadeAddFail(t *testing.T) {
	t.Parallel()
	for _, more := range []string{`, "runtimeConfig": {"portMappings": [{"hostPort": 0}]}`, `, "args": 5`, `, "prevResult": {"ips": 5}`} {
		if got := run(&fake{result: one()}, env("ADD"), conf("1.0.0", more)).failure(t); got.Msg == "" {
			t.Errorf("ADD with %s: no message", more)
		}
		f := &fake{}
		run(f, env("DEL", "CNI_ARGS=nonsense"), conf("1.0.0", more)).success(t)
		if f.verb != "DEL" || f.req.Prev != nil || f.req.Runtime.PortMappings != nil {
			t.Errorf("DEL with %s: %+v", more, f.req)
		}
	}
}

func TestPrevResultOfEveryVersion(t *testing.T) {
	t.Parallel()
	for _, v := range cniwire.Versions {
		first := run(&fake{result: one()}, env("ADD"), conf(v, ""))
		first.success(t)
		for _, in := range cniwire.Versions {
			f := &fake{result: one()}
			run(f, env("ADD"), conf(in, `, "prevResult": `+first.stdout)).success(t)
			if f.req.Prev == nil || f.req.Prev.IPs[0].Address != one().IPs[0].Address {
				t.Errorf("prevResult of %s in %s: %+v", v, in, f.req.Prev)
			}
		}
		without := strings.Replace(first.stdout, `"cniVersion":"`+v+`"`, `"cniVersion":""`, 1)
		f := &fake{result: one()}
		run(f, env("ADD"), conf(v, `, "prevResult": `+without)).success(t)
		if f.req.Prev == nil || len(f.req.Prev.IPs) != 1 {
			t.Errorf("prevResult %s without a version in %s: %+v", without, v, f.req.Prev)
		}
	}
}

func TestOutputIsOneJSONValue(t *testing.T) {
	t.Parallel()
	for _, v := range cniwire.Versions {
		a := run(&fake{result: one()}, env("ADD"), conf(v, ""))
		a.success(t)
		var got struct{ CNIVersion string }
		if err := json.Unmarshal([]byte(a.stdout), &got); err != nil || got.CNIVersion != v {
			t.Errorf("%s: %q, %v", v, a.stdout, err)
		}
	}
}
