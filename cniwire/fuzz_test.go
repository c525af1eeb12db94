package cniwire_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/cniwire"
	"github.com/berth-net/berth/plugins"
)

// check holds for every input whatsoever: the answer is JSON of the
// specification, and what reaches the driver is valid.
func check(t *testing.T, f *fake, a answer) {
	t.Helper()
	if a.stderr != "" {
		t.Fatalf("stderr: %q", a.stderr)
	}
	if a.code != 0 {
		got := a.failure(t)
		if got.Msg == "" || got.Code == 0 || got.Code == plugins.CodeInternal || !slices.Contains(cniwire.Versions, got.CNIVersion) {
			t.Fatalf("error object %+v", got)
		}
		return
	}
	if a.stdout != "" && !json.Valid([]byte(a.stdout)) {
		t.Fatalf("stdout: %q", a.stdout)
	}
	if f.req != nil {
		checkRequest(t, f.req)
	}
}

func checkRequest(t *testing.T, req *plugins.Request) {
	t.Helper()
	for _, name := range []string{req.Name, req.ContainerID, req.IfName, req.Args.Pod.Name, req.Args.Pod.Namespace} {
		if strings.ContainsAny(name, "/\x00\n") || name == ".." {
			t.Fatalf("name %q reached the driver", name)
		}
	}
	if len(req.IfName) > 15 || len(req.Name) == 0 || len(req.ContainerID) == 0 {
		t.Fatalf("request %+v", req)
	}
	for _, p := range slices.Concat(req.Args.IPs, req.Runtime.IPs) {
		if !p.IsValid() || p.Addr().Zone() != "" || p.Addr().IsUnspecified() {
			t.Fatalf("address %v reached the driver", p)
		}
	}
	for _, m := range req.Runtime.PortMappings {
		last := uint32(max(m.Count, 1)) - 1
		if m.HostPort == 0 || uint32(m.HostPort)+last > 65535 || m.ContainerPort == 0 || uint32(m.ContainerPort)+last > 65535 || m.HostIP.Zone() != "" {
			t.Fatalf("mapping %+v reached the driver", m)
		}
	}
	for _, mac := range [][]byte{req.Args.MAC, req.Runtime.MAC} {
		if mac != nil && (len(mac) != 6 || mac[0]&1 != 0) {
			t.Fatalf("MAC % x reached the driver", mac)
		}
	}
	if req.Prev != nil {
		checkPrev(t, req.Prev)
	}
}

func checkPrev(t *testing.T, prev *plugins.Result) {
	t.Helper()
	for _, ip := range prev.IPs {
		if !ip.Address.IsValid() || ip.Interface >= len(prev.Interfaces) || ip.Address == (netip.Prefix{}) {
			t.Fatalf("address %+v of prevResult reached the driver", ip)
		}
	}
}

// FuzzDecodeConfig is about standard input.
func FuzzDecodeConfig(f *testing.F) {
	for _, stdin := range []string{
		"", "{", good, `{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}`,
		conf("1.1.0", `, "cni.dev/attachments": [{"containerID":"b","ifname":"eth1"}], "args": {"cni": {"ips": ["10.0.0.1"], "mac": "02:00:00:00:00:01"}}`),
		conf("1.0.0", `, "runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 2, "hostIP": "::1", "count": 9}], "ips": ["::1/128"], "aliases": {"net1": ["a"]}}`),
		conf("0.4.0", `, "prevResult": {"interfaces": [{"name": "eth0"}], "ips": [{"version": "4", "address": "10.0.0.1/8", "interface": 0}], "routes": [{"dst": "::/0"}]}`),
		conf("0.2.0", `, "prevResult": {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/8", "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]}}`),
	} {
		f.Add("ADD", stdin)
		f.Add("GC", stdin)
	}
	f.Fuzz(func(t *testing.T, command, stdin string) {
		if command == "" || command == "VERSION" {
			return
		}
		d := &fake{result: one()}
		check(t, d, run(d, env(command), stdin))
	})
}

// FuzzDecodeEnvironment is about the variables.
func FuzzDecodeEnvironment(f *testing.F) {
	f.Add("c1", "eth0", "/run/netns/c", "IgnoreUnknown=1;IP=10.0.0.1,fd00::1/64;MAC=02:00:00:00:00:01;K8S_POD_NAME=a", "/opt/cni/bin:")
	f.Add("../c", "a:b", "\n", "IP=;;=", ":")
	f.Fuzz(func(t *testing.T, container, ifname, netns, args, path string) {
		d := &fake{result: one()}
		check(t, d, run(d, env("ADD", "CNI_CONTAINERID="+container, "CNI_IFNAME="+ifname, "CNI_NETNS="+netns, "CNI_ARGS="+args, "CNI_PATH="+path), good))
	})
}
