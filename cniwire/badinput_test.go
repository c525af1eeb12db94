package cniwire_test

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
)

const good = `{"cniVersion": "1.1.0", "name": "net1", "type": "fake"}`

// Every row is refused with the code and with words that name what is wrong,
// before the driver is asked.
func TestBadInput(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env   map[string]string
		stdin string
		code  plugins.Code
		words string
	}{
		"unknown command":        {env("EXEC"), good, plugins.CodeInvalidEnvironment, "CNI_COMMAND"},
		"no container":           {env("ADD", "CNI_CONTAINERID="), good, plugins.CodeInvalidEnvironment, "CNI_CONTAINERID"},
		"no netns":               {env("ADD", "CNI_NETNS="), good, plugins.CodeInvalidEnvironment, "CNI_NETNS"},
		"no netns on CHECK":      {env("CHECK", "CNI_NETNS="), good, plugins.CodeInvalidEnvironment, "CNI_NETNS"},
		"no ifname":              {env("DEL", "CNI_IFNAME="), good, plugins.CodeInvalidEnvironment, "CNI_IFNAME"},
		"no path on GC":          {env("GC", "CNI_PATH="), good, plugins.CodeInvalidEnvironment, "CNI_PATH"},
		"container with slash":   {env("ADD", "CNI_CONTAINERID=a/b"), good, plugins.CodeInvalidEnvironment, "CNI_CONTAINERID"},
		"container dot dot":      {env("DEL", "CNI_CONTAINERID=.."), good, plugins.CodeInvalidEnvironment, "CNI_CONTAINERID"},
		"container too long":     {env("ADD", "CNI_CONTAINERID="+strings.Repeat("a", 256)), good, plugins.CodeInvalidEnvironment, "CNI_CONTAINERID"},
		"container with newline": {env("ADD", "CNI_CONTAINERID=a\n"), good, plugins.CodeInvalidEnvironment, "CNI_CONTAINERID"},
		"ifname too long":        {env("ADD", "CNI_IFNAME=sixteen-bytes-xx"), good, plugins.CodeInvalidEnvironment, "CNI_IFNAME"},
		"ifname with slash":      {env("ADD", "CNI_IFNAME=a/b"), good, plugins.CodeInvalidEnvironment, "CNI_IFNAME"},
		"ifname with colon":      {env("ADD", "CNI_IFNAME=a:b"), good, plugins.CodeInvalidEnvironment, "CNI_IFNAME"},
		"ifname with space":      {env("ADD", "CNI_IFNAME=a b"), good, plugins.CodeInvalidEnvironment, "CNI_IFNAME"},
		"ifname dot dot":         {env("ADD", "CNI_IFNAME=.."), good, plugins.CodeInvalidEnvironment, "CNI_IFNAME"},

		"args without value":   {env("ADD", "CNI_ARGS=IP"), good, plugins.CodeInvalidEnvironment, "CNI_ARGS"},
		"args unknown":         {env("ADD", "CNI_ARGS=FOO=1"), good, plugins.CodeInvalidEnvironment, "FOO"},
		"args unknown wanted":  {env("ADD", "CNI_ARGS=IgnoreUnknown=0;FOO=1"), good, plugins.CodeInvalidEnvironment, "FOO"},
		"args boolean":         {env("ADD", "CNI_ARGS=IgnoreUnknown=maybe"), good, plugins.CodeInvalidEnvironment, "IgnoreUnknown"},
		"args address":         {env("ADD", "CNI_ARGS=IP=10.1.2.300"), good, plugins.CodeInvalidEnvironment, "IP"},
		"args group address":   {env("ADD", "CNI_ARGS=IP=224.0.0.1"), good, plugins.CodeInvalidEnvironment, "IP"},
		"args address of zone": {env("ADD", "CNI_ARGS=IP=fe80::1%eth0"), good, plugins.CodeInvalidEnvironment, "IP"},
		"args MAC":             {env("ADD", "CNI_ARGS=MAC=xx"), good, plugins.CodeInvalidEnvironment, "MAC"},
		"args group MAC":       {env("ADD", "CNI_ARGS=MAC=01:00:5e:00:00:01"), good, plugins.CodeInvalidEnvironment, "MAC"},
		"args zero MAC":        {env("ADD", "CNI_ARGS=MAC=00:00:00:00:00:00"), good, plugins.CodeInvalidEnvironment, "MAC"},
		"args long MAC":        {env("ADD", "CNI_ARGS=MAC=02:00:00:00:00:00:00:01"), good, plugins.CodeInvalidEnvironment, "MAC"},
		"args pod":             {env("ADD", "CNI_ARGS=K8S_POD_NAME=../x"), good, plugins.CodeInvalidEnvironment, "K8S_POD_NAME"},

		"nothing":             {env("ADD"), "", plugins.CodeDecode, "stdin"},
		"white space":         {env("STATUS"), " \n", plugins.CodeDecode, "stdin"},
		"broken JSON":         {env("ADD"), `{"name":`, plugins.CodeDecode, "configuration"},
		"two values":          {env("ADD"), good + good, plugins.CodeDecode, "configuration"},
		"an array":            {env("ADD"), `[]`, plugins.CodeDecode, "configuration"},
		"name is a number":    {env("ADD"), `{"name": 5}`, plugins.CodeDecode, "name"},
		"no name":             {env("ADD"), `{"type": "fake"}`, plugins.CodeInvalidConfig, "name"},
		"name with slash":     {env("ADD"), `{"name": "a/b"}`, plugins.CodeInvalidConfig, "name"},
		"name dot dot":        {env("ADD"), `{"name": "../etc"}`, plugins.CodeInvalidConfig, "name"},
		"type with slash":     {env("ADD"), `{"name": "n", "type": "../../bin/sh"}`, plugins.CodeInvalidConfig, "type"}, // CVE-2021-20206
		"version unknown":     {env("ADD"), `{"name": "n", "cniVersion": "9.9.9"}`, plugins.CodeIncompatibleVersion, "cniVersion"},
		"version no version":  {env("ADD"), `{"name": "n", "cniVersion": "x"}`, plugins.CodeIncompatibleVersion, "cniVersion"},
		"version is a number": {env("ADD"), `{"name": "n", "cniVersion": 1}`, plugins.CodeDecode, "cniVersion"},

		"valid attachments":      {env("GC"), conf("1.1.0", `, "cni.dev/valid-attachments": 5`), plugins.CodeDecode, "cni.dev/valid-attachments"},
		"valid attachment empty": {env("GC"), conf("1.1.0", `, "cni.dev/attachments": [{}]`), plugins.CodeInvalidConfig, "containerID"},

		"args is a number":     {env("ADD"), conf("1.1.0", `, "args": 5`), plugins.CodeDecode, "args"},
		"args.cni.ips":         {env("ADD"), conf("1.1.0", `, "args": {"cni": {"ips": ["x"]}}`), plugins.CodeInvalidConfig, "args.cni.ips[0]"},
		"args.cni.mac":         {env("ADD"), conf("1.1.0", `, "args": {"cni": {"mac": "x"}}`), plugins.CodeInvalidConfig, "args.cni.mac"},
		"args.cni.ips no list": {env("ADD"), conf("1.1.0", `, "args": {"cni": {"ips": "10.0.0.1"}}`), plugins.CodeDecode, "args.cni.ips"},

		"prevResult is a number":   {env("ADD"), conf("1.1.0", `, "prevResult": 5`), plugins.CodeDecode, "prevResult"},
		"prevResult version":       {env("ADD"), conf("1.1.0", `, "prevResult": {"cniVersion": "7.0.0"}`), plugins.CodeIncompatibleVersion, "prevResult.cniVersion"},
		"prevResult version type":  {env("ADD"), conf("1.1.0", `, "prevResult": {"cniVersion": 7}`), plugins.CodeDecode, "prevResult.cniVersion"},
		"prevResult address":       {env("CHECK"), conf("1.1.0", `, "prevResult": {"ips": [{"address": "x"}]}`), plugins.CodeInvalidConfig, "prevResult"},
		"prevResult interface":     {env("CHECK"), conf("1.1.0", `, "prevResult": {"ips": [{"address": "10.0.0.1/8", "interface": 2}]}`), plugins.CodeInvalidConfig, "prevResult"},
		"prevResult interface < 0": {env("CHECK"), conf("1.1.0", `, "prevResult": {"ips": [{"address": "10.0.0.1/8", "interface": -1}]}`), plugins.CodeInvalidConfig, "prevResult"},
		"prevResult null address":  {env("CHECK"), conf("1.1.0", `, "prevResult": {"ips": [null]}`), plugins.CodeInvalidConfig, "prevResult"},
	} {
		f := &fake{result: one()}
		got := run(f, c.env, c.stdin).failure(t)
		if got.Code != c.code || !strings.Contains(got.Msg, c.words) {
			t.Errorf("%s: %+v, want code %d and %q", name, got, c.code, c.words)
		}
		if f.verb != "" {
			t.Errorf("%s: the driver was asked %s", name, f.verb)
		}
	}
}

func TestBadRuntimeConfig(t *testing.T) {
	t.Parallel()
	for value, words := range map[string]string{
		`5`:                                      "runtimeConfig",
		`{"portMappings": 5}`:                    "runtimeConfig.portMappings",
		`{"portMappings": [{"hostPort": "80"}]}`: "runtimeConfig.portMappings.hostPort",
		`{"portMappings": [{"hostPort": 0, "containerPort": 80}]}`:                    "runtimeConfig.portMappings[0].hostPort",
		`{"portMappings": [{"hostPort": 80, "containerPort": 65536}]}`:                "runtimeConfig.portMappings[0].containerPort",
		`{"portMappings": [{"hostPort": -1, "containerPort": 80}]}`:                   "hostPort",
		`{"portMappings": [{"hostPort": 65535, "containerPort": 1, "count": 2}]}`:     "hostPort",
		`{"portMappings": [{"hostPort": 1, "containerPort": 1, "count": -1}]}`:        "count",
		`{"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}]}`: "protocol",
		`{"portMappings": [{"hostPort": 1, "containerPort": 1, "hostIP": "lan"}]}`:    "hostIP",
		`{"ips": ["10.0.0.1/33"]}`:                                          "runtimeConfig.ips[0]",
		`{"ips": ["10.0.0.1", "::"]}`:                                       "runtimeConfig.ips[1]",
		`{"mac": "02:00:00:00:00"}`:                                         "runtimeConfig.mac",
		`{"bandwidth": {"ingressRate": -1}}`:                                "ingressRate",
		`{"bandwidth": {"egressRate": 100}}`:                                "egressBurst",
		`{"bandwidth": {"ingressRate": 1, "ingressBurst": 99999999999999}}`: "ingressBurst",
		`{"dns": {"servers": ["ns1"]}}`:                                     "runtimeConfig.dns.servers[0]",
		`{"dns": {"searches": ["a\nnameserver 6.6.6.6"]}}`:                  "runtimeConfig.dns.searches[0]",
		`{"dns": {"options": [""]}}`:                                        "runtimeConfig.dns.options[0]",
		`{"aliases": ["a b"]}`:                                              "runtimeConfig.aliases[0]",
		`{"aliases": {"net1": ["../x"]}}`:                                   "runtimeConfig.aliases[0]",
		`{"aliases": "x"}`:                                                  "runtimeConfig.aliases",
	} {
		f := &fake{result: one()}
		got := run(f, env("ADD"), conf("1.0.0", `, "runtimeConfig": `+value)).failure(t)
		bad := got.Code != plugins.CodeInvalidConfig && got.Code != plugins.CodeDecode
		if bad || !strings.Contains(got.Msg, words) || f.verb != "" {
			t.Errorf("%s: %+v, want %q; driver asked %q", value, got, words, f.verb)
		}
	}
}
